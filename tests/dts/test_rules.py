"""Each rule has two small boards: one that breaks it and one that does not.

``rules/CODE-fail.txt`` holds all findings of ``rules/CODE-fail.dts``, word for word; after a deliberate
change of a message, ``python tests/dts/test_rules.py`` writes them anew. A first line ``// gcma check ...``
gives options.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import dts
import dts.rule
from dts.report import Report, report
from dts.rules import RULES, explain
from gcma import check

FOLDER = Path(__file__).parent / "rules"
BLOB_RULES = {"blob-misaligned", "duplicate-node", "duplicate-property", "late-property"}  # test_blob.py
CALLER_RULES = {"occupied-overlap"}  # test_verdict.py
CODES = sorted(RULES.keys() - BLOB_RULES - CALLER_RULES)


def checked(path: Path) -> Report:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    words = shlex.split(first.removeprefix("// gcma check")) if first.startswith("//") else []
    tree = dts.load(path)
    return report(path.name, tree, dts.examine(tree, check.assumptions(parser.parse_args(words))))


def lines(found: Report) -> Iterator[str]:
    for item in found.found:
        finding, place = item.finding, item.place
        assert place is not None, finding
        yield f"{place.line}:{place.column}: {finding.severity.value}: {finding.message} [{finding.code}]"
        yield f"    {finding.node} {finding.prop or '-'} {finding.kernel or '-'}"


@pytest.mark.parametrize("code", CODES)
def test_the_broken_board_gives_these_findings(code: str) -> None:
    expected = (FOLDER / f"{code}-fail.txt").read_text(encoding="utf-8")
    found = checked(FOLDER / f"{code}-fail.dts")
    assert "\n".join(lines(found)) + "\n" == expected
    assert code in {item.finding.code for item in found.found}


@pytest.mark.parametrize("code", CODES)
def test_the_sound_board_does_not(code: str) -> None:
    found = checked(FOLDER / f"{code}-pass.dts")
    assert code not in {item.finding.code for item in found.found}
    assert found.ok


def test_every_file_belongs_to_a_rule() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {f"{code}-{kind}" for code in CODES for kind in ("fail.dts", "fail.txt", "pass.dts")}


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_every_rule_explains_itself(rule: dts.rule.Rule) -> None:
    text = explain(rule)
    assert rule.title in text
    assert rule.why.split()[0] in text
    assert rule.wrong != rule.right
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("code", CODES)
def test_messages_are_one_sentence_that_names_the_node(code: str) -> None:
    for item in checked(FOLDER / f"{code}-fail.dts").found:
        finding = item.finding
        name = finding.node.rpartition("/")[2]
        assert finding.message.startswith((f"{name}:", "/:", "/reserved-memory:"))
        assert finding.message.endswith(".")
        assert "\n" not in finding.message
        assert ". " not in finding.message


DOCUMENT = Path(__file__).parents[2] / "docs" / "check.md"


def test_the_document_has_every_rule_and_every_fact() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for rule in RULES.values():
        decides = f"`{rule.kernel}`" if rule.kernel else "the binding"
        assert f"| `{rule.code}` | {rule.severity.value} | {rule.title} | {decides} |" in text
        for fact in filter(None, rule.facts.split(", ")):
            line = next((line for line in text.splitlines() if line.startswith(f"| {fact} | ")), "")
            assert f"`{rule.code}`" in line or fact == "reach", (rule.code, fact)


def test_the_documents_example_is_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gcma.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.dts").write_bytes((FOLDER / "alignment-cells-fail.dts").read_bytes())
    assert main(["check", "board.dts"]) == 1
    assert capsys.readouterr().out in DOCUMENT.read_text(encoding="utf-8")


if __name__ == "__main__":
    for name in CODES:
        text = "\n".join(lines(checked(FOLDER / f"{name}-fail.dts"))) + "\n"
        (FOLDER / f"{name}-fail.txt").write_text(text, encoding="utf-8")
