"""``gcma test`` on both boards, whole: every case passes, and the files say so."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from board import ALL_TESTS, load_plan
from guest import pattern
from guest.protocol import CASES

pytestmark = pytest.mark.qemu
Start = Callable[..., Any]

VISIBLE = [test.id for test in ALL_TESTS if not getattr(test.subject, "hidden", False)]
HIGH = {case.id for case in CASES if case.high_memory}


@pytest.fixture(scope="module")
def finished() -> dict[Path, tuple[Any, Path]]:
    """The one run of each board that all tests of this module look at."""
    return {}


@pytest.fixture
def run(gcma: Start, board: Path, finished: dict[Path, tuple[Any, Path]]) -> Any:
    """A whole run of the board, with every kind of output."""
    if board not in finished:
        one = gcma("test", board, "--report", "report", "--json", "out.json", "--junit", "out.xml").wait()
        finished[board] = (one, one.folder)
    return finished[board][0]


def test_all_cases_pass(run: Any, board: Path) -> None:
    assert run.status == 0, run.out + run.err
    high = load_plan(board).high_memory is not None
    expected = [f"{'ok' if high or name not in HIGH else 'skipped'} {name}" for name in VISIBLE]
    assert run.rows() == expected
    assert run.err == ""
    run.check_nothing_left()


def test_json(run: Any, board: Path) -> None:
    results = json.loads((run.folder / "out.json").read_text())
    plan = load_plan(board)
    assert list(results) == [
        "schema", "board", "machine", "qemu", "passed", "failed", "skipped", "seconds", "tests", "area",
    ]  # fmt: skip
    assert results["schema"] == "gcma.test/1"
    assert (results["board"], results["machine"]) == (str(board), plan.machine.name)
    assert results["failed"] == 0
    assert results["passed"] + results["skipped"] == len(VISIBLE)
    assert [test["id"] for test in results["tests"]] == VISIBLE
    for test in results["tests"]:
        assert list(test) == ["id", "device", "outcome", "seconds", "bytes_verified", "message"]
        assert test["outcome"] == ("skipped" if test["id"] in HIGH and not plan.high_memory else "passed")
    area = results["area"]
    assert (area["base"], area["size"]) == (plan.place.base, plan.place.size)
    assert area["stale_reads"] == 0
    assert area["allocations"] > 1000  # guarantee.rounds alone
    assert area["put"] > area["hit"] > 0
    assert area["dropped_pages"] > plan.place.size // 8 // 4096  # cache.reuse alone


@pytest.mark.parametrize(
    ("case", "bytes_verified"),
    [
        ("camera.fhd-rgba", 1920 * 1080 * 4),
        ("camera.12mp-raw", 4056 * 3040 * 3 // 2),
        ("camera.ring", 30 * 1920 * 1080 * 4),
        ("display.blit", 1280 * 720 * 4),
        ("dma.channels", 15 * 32 * 1024),
        ("dma.sizes", (4 << 10) + (64 << 10) + (1 << 20) + (8 << 20) + (32 << 20)),
    ],
)
def test_every_byte_is_checked(run: Any, case: str, bytes_verified: int) -> None:
    results = json.loads((run.folder / "out.json").read_text())
    assert next(t["bytes_verified"] for t in results["tests"] if t["id"] == case) == bytes_verified


def test_junit(run: Any) -> None:
    results = json.loads((run.folder / "out.json").read_text())
    suites = ElementTree.parse(run.folder / "out.xml").getroot()
    (suite,) = suites
    assert (suites.tag, suite.tag) == ("testsuites", "testsuite")
    assert suite.get("tests") == str(len(VISIBLE))
    assert suite.get("skipped") == str(results["skipped"])
    assert suite.get("failures") == suite.get("errors") == "0"
    names = [f"{c.get('classname')}.{c.get('name')}" for c in suite.iter("testcase")]
    assert names == [f"gcma.{name}" for name in VISIBLE]


def test_report_folder(run: Any) -> None:
    report = run.folder / "report"
    assert {"results.json", "junit.xml", "serial.log", "command.txt", "table.svg", "display.blit.png"} <= {
        path.name for path in report.iterdir()
    }
    assert json.loads((report / "results.json").read_text()) == json.loads(
        (run.folder / "out.json").read_text()
    )
    assert "gcma firmware: EL2" in (report / "serial.log").read_text()
    assert (report / "command.txt").read_text().startswith("qemu-system-aarch64 ")
    ElementTree.parse(report / "table.svg")
    serial = (report / "serial.log").read_bytes()
    assert not any(byte < 32 and byte not in (9, 10) for byte in serial), "hostile.serial's noise got through"


def test_picture_is_the_camera_frame(run: Any) -> None:
    """The middle of frame 3, as the firmware blits it."""
    png = (run.folder / "report" / "display.blit.png").read_bytes()
    seen = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    whole = pattern.picture(1920, 1080, 3).view(np.uint8).reshape(1080, 1920, 4)
    assert np.array_equal(seen, whole[180 : 180 + 720, 320 : 320 + 1280, :3])


def test_json_alone_on_stdout(gcma: Start, pi3: Path) -> None:
    run = gcma("test", pi3, "-k", "boot", "--json", "-", "--report", "report").wait()
    assert run.status == 0
    assert json.loads(run.out)["passed"] == 1


def test_a_blob_serves_as_well(gcma: Start, pi3: Path, tmp_path: Path) -> None:
    import dts

    blob = tmp_path / "board.dtb"
    blob.write_bytes(dts.flatten(dts.load(pi3)))
    run = gcma("test", blob, "-k", "boot or dma.channels").wait()
    assert run.rows() == ["ok boot.devicetree", "ok dma.channels"]


def test_boards_side_by_side(gcma: Start, boards: Path, pi4: Path, pi3: Path) -> None:
    runs = [gcma("test", board, "-k", "camera.fhd or cache.roundtrip") for board in (pi4, pi3, pi4, pi3)]
    for run in runs:
        assert run.wait().rows() == ["ok camera.fhd-rgba", "ok cache.roundtrip"], run.out + run.err
    for run in runs:
        run.check_nothing_left()
