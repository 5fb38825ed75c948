"""Runs the documents: every ``console`` block, in a shell, in the order of the page.

In a block a line ``$ COMMAND`` is run; what follows it must be its output, where a line
``...`` stands for any lines and ``...`` within a line for any text. Output is not looked at
where the page shows none. A command that fails must be followed by ``$ echo $?``. Before a
block an HTML comment may say what else there is to know::

    <!-- file: my.dts -->      the block is no session but that file's new content
    <!-- not run: REASON -->   a session that a test cannot run
    <!-- nightly -->           a session that takes minutes

One folder and one shell for each page. Pages of the project itself (the README) are run in
the checkout.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
SECONDS = 300
FENCE = re.compile(
    r"(?:^<!-- (?P<note>.*?) -->\n\n?)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
MARK = "@@gcma-documents@@"


@dataclass
class Command:
    """A command of a session, and what the page shows of its output."""

    line: int
    text: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Page:
    """What a test does for a document: commands, and files written between them."""

    steps: list[Command | tuple[str, str]] = field(default_factory=list)
    nightly: bool = False


def read(document: Path) -> Page:
    text = document.read_text()
    page = Page()
    for match in FENCE.finditer(text):
        note, body = match["note"] or "", match["body"]
        line = text.count("\n", 0, match.start("body")) + 1
        if note.startswith("file: "):
            page.steps.append((note.removeprefix("file: "), body))
        elif match["kind"] == "console" and not note.startswith("not run: "):
            page.nightly |= note == "nightly"
            page.steps += commands(body, line)
    return page


def commands(body: str, first: int) -> Iterator[Command]:
    command: Command | None = None
    for number, line in enumerate(body.splitlines(), first):
        if line.startswith("$ "):
            if command is not None:
                yield command
            command = Command(number, line.removeprefix("$ "))
        elif command is None:
            raise AssertionError(f"line {number}: output before a command")
        elif command.text.endswith("\\"):
            command.text += "\n" + line
        else:
            command.shown.append(line)
    if command is not None:
        yield command


def matches(shown: list[str], output: str) -> bool:
    """Whether the output is what is shown; blank lines behind a line need not be shown."""
    lines = [line.rstrip() for line in output.splitlines()]
    ends = {0}  # how many lines of the output the lines so far may account for
    for line in shown:
        if line.strip() == "...":
            ends = set(range(min(ends, default=len(lines) + 1), len(lines) + 1))
            continue
        wanted = re.compile(re.escape(line.rstrip()).replace(r"\.\.\.", ".*"))
        ends = {end + 1 for end in ends if end < len(lines) and wanted.fullmatch(lines[end])}
        for end in sorted(ends):
            while end < len(lines) and not lines[end]:
                end += 1
                ends.add(end)
    return len(lines) in ends


def script(page: Page) -> str:
    """The whole page as a shell's input; a mark with the status ends each command."""
    parts = ["exec 2>&1"]
    for step in page.steps:
        if isinstance(step, Command):
            parts.append(f'{step.text}\nset -- $?; printf "{MARK} %s\\n" "$1"; (exit "$1")')
        else:
            name, content = step
            parts.append(f"mkdir -p \"$(dirname '{name}')\"; cat > '{name}' <<'{MARK}'\n{content}{MARK}")
    return "\n".join(parts) + "\n"


def cases() -> Iterator[object]:
    for document in DOCUMENTS:
        page = read(document)
        if any(isinstance(step, Command) for step in page.steps):
            marks = [pytest.mark.qemu, *([pytest.mark.nightly] if page.nightly else [])]
            yield pytest.param(document, page, id=str(document.relative_to(ROOT)), marks=marks)


@pytest.mark.parametrize(("document", "page"), list(cases()))
def test_document(
    document: Path, page: Page, tmp_path: Path, boards: Path, need_qemu: Callable[[Path], Path]
) -> None:
    need_qemu(boards / "rpi-4-b.dts")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GITHUB_"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "GCMA_DOCS": str(ROOT / "docs"),
    }
    run = subprocess.run(
        ["bash", "--norc"],
        input=script(page),
        cwd=ROOT if document.parent == ROOT else tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS * (4 if page.nightly else 1),
        check=False,
    )
    outputs = re.findall(rf"(.*?){MARK} (\d+)\n", run.stdout, re.DOTALL)
    session = [step for step in page.steps if isinstance(step, Command)]
    assert len(outputs) == len(session), f"the shell ended early:\n{run.stdout[-3000:]}"
    for number, (command, (output, status)) in enumerate(zip(session, outputs, strict=True)):
        where = f"{document.relative_to(ROOT)}:{command.line}: {command.text}\n{output[-5000:]}"
        if command.shown:
            assert matches(command.shown, output), f"expected {command.shown}, got\n{where}"
        following = session[number + 1].text if number + 1 < len(session) else ""
        if following != "echo $?":
            assert status == "0", where


def test_what_shown_output_means() -> None:
    assert matches(["a ... (1)", "...", "c"], "a b (1)\nx\ny\nc\n")
    assert matches(["a", "...", "c"], "a\nc\n")
    assert matches(["a", "c"], "a\n\n\nc\n\n")
    assert matches(["...", "b", "..."], "a\nb\nb\nc\n")
    assert not matches(["a", "c"], "a\nb\nc\n")
    assert not matches(["a"], "a\nb\n")
    assert not matches(["a", "b"], "a\n")
    assert not matches(["..."] * 30 + ["x"], "a b\n\n" * 500)


def test_documents_are_there() -> None:
    """A page whose commands were not found would pass for ever."""
    pages = {document.name for document in DOCUMENTS if read(document).steps}
    assert {"tutorial.md", "pytest.md"} <= pages
