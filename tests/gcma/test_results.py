"""Results as files: the JSON contract, JUnit XML, and text that a guest chose."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from board import Result
from gcma.results import write_text

Make = Callable[..., Any]
PASSED, FAILED, SKIPPED = Result.PASSED, Result.FAILED, Result.SKIPPED


@pytest.fixture
def mixed(results: Make, outcomes: Make) -> Any:
    return results(
        outcomes("camera.ring", PASSED, "30 frames", size=4096),
        outcomes("dma.2d", FAILED, "line 3 differs", "line 3 differs\n--- serial\nhello"),
        outcomes("v3d.texture", SKIPPED, "the tree has no v3d"),
        outcomes("cache.reuse", PASSED),
    )


def test_json(mixed: Any, boards: Path) -> None:
    assert json.loads(mixed.as_json()) == {
        "schema": "gcma.test/1",
        "board": str(boards / "rpi-3-b.dts"),
        "machine": "raspi3b",
        "qemu": "10.0",
        "passed": 2,
        "failed": 1,
        "skipped": 1,
        "seconds": 1.5,
        "tests": [
            {
                "id": name,
                "device": name.partition(".")[0],
                "outcome": word,
                "seconds": 0.25,
                "bytes_verified": size,
                "message": message,
            }
            for name, word, size, message in (
                ("camera.ring", "passed", 4096, "30 frames"),
                ("dma.2d", "failed", 0, "line 3 differs"),
                ("v3d.texture", "skipped", 0, "the tree has no v3d"),
                ("cache.reuse", "passed", 0, None),
            )
        ],
        "area": {
            "base": 0x3400_0000,
            "size": 0x0800_0000,
            "allocations": 7,
            "allocation_failures": 1,
            "dropped_pages": 3,
            "stale_reads": 0,
            "put": 9,
            "hit": 5,
            "miss": 4,
        },
    }


def test_junit(mixed: Any) -> None:
    suites = ElementTree.fromstring(mixed.as_junit())
    assert suites.attrib == {"name": "gcma", "tests": "4", "failures": "1"}
    (suite,) = suites
    assert suite.attrib == {
        "name": "gcma.raspi3b", "tests": "4", "failures": "1", "errors": "0", "skipped": "1", "time": "1.500",
    }  # fmt: skip
    properties = {item.get("name"): item.get("value") for item in suite.iter("property")}
    assert (properties["machine"], properties["qemu"]) == ("raspi3b", "10.0")
    cases = {f"{case.get('classname')}.{case.get('name')}": case for case in suite.iter("testcase")}
    assert list(cases) == ["gcma.camera.ring", "gcma.dma.2d", "gcma.v3d.texture", "gcma.cache.reuse"]
    assert cases["gcma.camera.ring"].findtext("system-out") == "30 frames"
    failure = cases["gcma.dma.2d"].find("failure")
    assert failure is not None
    assert failure.get("message") == "line 3 differs"
    assert failure.text == "line 3 differs\n--- serial\nhello"
    skipped = cases["gcma.v3d.texture"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "the tree has no v3d"
    assert list(cases["gcma.cache.reuse"]) == []


def test_a_failure_without_evidence_still_says_why(results: Make, outcomes: Make) -> None:
    suites = ElementTree.fromstring(results(outcomes("dma.2d", FAILED, "why")).as_junit())
    assert suites.findtext(".//failure") == "why"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.text(), evidence=st.text(), result=st.sampled_from(Result))
def test_any_text_gives_files_that_parse(
    results: Make, outcomes: Make, message: str, evidence: str, result: Result
) -> None:
    run = results(outcomes("a.b", result, message, evidence))
    assert json.loads(run.as_json())["tests"][0]["message"] == (message or None)
    ElementTree.fromstring(run.as_junit().encode("utf-8", errors="backslashreplace"))


@pytest.mark.parametrize(
    "message", ["]]>", "<failure/>", "&amp;", "\x00\x1b[2J", "\ufffe\uffff", "\udc80", 'a"b', "\u2028"]
)
def test_hostile_text_in_junit(results: Make, outcomes: Make, message: str) -> None:
    suites = ElementTree.fromstring(results(outcomes("a.b", FAILED, message)).as_junit())
    failure = suites.find(".//failure")
    assert failure is not None
    printed = message.encode(errors="backslashreplace").decode()
    assert failure.text == "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in printed
    )


def test_folder(mixed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    mixed.write_folder(folder)
    mixed.write_folder(folder)
    assert json.loads((folder / "results.json").read_text()) == json.loads(mixed.as_json())
    assert (folder / "junit.xml").read_text() == mixed.as_junit()
    assert (folder / "command.txt").read_text() == "qemu-system-aarch64 -nodefaults\n"
    assert (folder / "serial.log").read_text() == ""


def test_write_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text("one", "-")
    write_text("two\n", "-")
    write_text("\udcff", str(tmp_path / "file"))
    assert capsys.readouterr().out == "one\ntwo\n"
    assert (tmp_path / "file").read_text() == "\\udcff\n"
