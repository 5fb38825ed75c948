"""The reference of the Python API is written from the docstrings; links between pages lead somewhere.

``python tests/docs/test_reference.py > docs/reference-api.md`` writes it anew.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gcma

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference-api.md"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def reference() -> str:
    """All public names, in the order of ``gcma.__all__``."""
    lines = [
        "# What Python programs may import",
        "",
        "Written by `python tests/docs/test_reference.py` from the docstrings. These names stay; the",
        "rest may change between releases. Importing `gcma` imports none of them before they are used.",
        "",
    ]
    for name in gcma.__all__:
        value = getattr(gcma, name)
        if isinstance(value, str):
            continue
        if not callable(value):
            lines += [f"## {name}", "", f"A `{type(value).__name__}`.", ""]
            continue
        title = f"gcma.{name}{parameters(value)}"
        lines += [f"## {name}", "", f"`{title}`", "", *prose(value), ""]
        if inspect.isclass(value) and not issubclass(value, Exception):
            for member, function in members(value):
                shown = f"{member}{parameters(function)}" if callable(function) else member
                lines.append(f"- `{shown}`: {first_sentence(function)}")
            lines.append("")
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def members(value: type) -> Iterator[tuple[str, object]]:
    """Public methods and properties that say what they are."""
    for name, member in inspect.getmembers(value):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, member if isinstance(member, property) else function


def parameters(value: object) -> str:
    """Names and defaults. Types are in the sources: their text differs between releases of numpy."""
    if not callable(value) or (inspect.isclass(value) and issubclass(value, Exception)):
        return ""
    signature = inspect.signature(value)
    shown = []
    for each in signature.parameters.values():
        simple = each.default is each.empty or each.default is None or isinstance(each.default, int | str)
        default = each.default if simple else ...
        if each.name != "self":
            shown.append(each.replace(annotation=each.empty, default=default))
    plain = signature.replace(parameters=shown, return_annotation=signature.empty)
    return str(plain).replace("Ellipsis", "...")


def prose(value: object) -> list[str]:
    """A docstring as markdown: roles of Sphinx become code, fields a list."""
    text = inspect.getdoc(value) or ""
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text.replace("``", "`"))
    text = re.sub(r"(?m)^:(?:param|ivar) (\w+): ", r"- `\1`: ", text)
    text = re.sub(r"(?m)^(\w+(?:, \w+)*) {2,}(?=\S)|^([a-z]+_\w+) (?=\S)", r"- `\1\2`: ", text)
    text = re.sub(r"(?m)^:raise ([\w.]+): ", r"- raises `\1`: ", text)
    return text.splitlines()


def first_sentence(value: object) -> str:
    paragraph = " ".join(prose(value)).split("  ")[0]
    return re.split(r"(?<=[.;]) ", paragraph)[0].rstrip(".;:")


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text() == reference(), (
        "run: python tests/docs/test_reference.py > docs/reference-api.md"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|mailto:)([^)#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


if __name__ == "__main__":
    sys.stdout.write(reference())
