"""``gcma test --trace``: the requests of a trace on the board, by real DMA."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.qemu
Start = Callable[..., Any]
DATA = Path(__file__).parents[1] / "data" / "traces"

FAILS = (
    "call 26 of 26, a request for 4537 pages (18148 KiB) aligned to 1 MiB, fails: "
    "72784 KiB of 128 MiB are free, the longest free run is 17692 KiB"
)


def pages(line: str) -> int:
    """How many an event of a trace names."""
    return int(line.partition("count=")[2].split()[0])


@pytest.fixture
def counter_example(gcma: Start, pi3: Path, tmp_path: Path) -> Path:
    """What ``gcma prove`` says of the smaller board."""
    trace = tmp_path / "fail.trace"
    proof = gcma("prove", pi3, "--trace", trace).wait()
    assert proof.status == 1, proof.err
    assert f"\nTo see it fail on the emulated board:\n  gcma test {pi3} --trace {trace}\n" in proof.out
    return trace


def test_the_counter_example_fails_at_its_last_call(gcma: Start, pi3: Path, counter_example: Path) -> None:
    files = ("--json", "out.json", "--junit", "out.xml", "--report", "report")
    run = gcma("test", pi3, "--trace", counter_example, *files).wait()
    assert run.status == 1, run.err
    assert run.rows() == ["FAILED trace"]
    results = json.loads((run.folder / "out.json").read_text())
    [test] = results["tests"]
    assert (test["id"], test["device"], test["outcome"], test["message"]) == ("trace", "dma", "failed", FAILS)
    assert (results["failed"], results["passed"]) == (1, 0)
    area = results["area"]
    assert (area["allocations"], area["allocation_failures"], area["stale_reads"]) == (17, 1, 0)
    met = [line for line in counter_example.read_text().splitlines() if line.endswith("errorno=0")]
    assert area["dropped_pages"] == sum(pages(line) for line in met), "each request found a full cache"
    failure = ElementTree.parse(run.folder / "out.xml").find(".//failure")
    assert failure is not None
    assert failure.get("message") == FAILS
    assert "128 MiB at 0x34000000" in (failure.text or "")
    case = ElementTree.parse(run.folder / "out.xml").find(".//testcase")
    assert case is not None
    assert (case.get("classname"), case.get("name")) == ("gcma.trace", "trace")
    page = (run.folder / "report" / "index.html").read_text()
    assert FAILS in page
    assert f"gcma test {pi3} --trace {counter_example}\n" in page
    assert (run.folder / "report" / "pool.png").read_bytes().startswith(b"\x89PNG")
    run.check_nothing_left()


def test_a_larger_pool_meets_it(gcma: Start, pi4: Path, counter_example: Path) -> None:
    run = gcma("test", pi4, "--trace", counter_example, "--json", "-").wait()
    assert run.status == 0, run.out + run.err
    results = json.loads(run.out)
    [test] = results["tests"]
    assert test["outcome"] == "passed"
    assert test["message"].startswith("26 calls; 18 requests of up to 18148 KiB met, ")
    requests = [line for line in counter_example.read_text().splitlines() if "align=" in line]
    assert test["bytes_verified"] > sum(pages(line) for line in requests) * 4096
    assert results["area"]["dropped_pages"] == sum(pages(line) for line in requests)


def test_a_recording_of_linux(gcma: Start, pi4: Path) -> None:
    """File pages that came and went around a camera's frames."""
    run = gcma("test", pi4, "--trace", DATA / "linux-7.3-files-and-camera.txt.xz", "--json", "-").wait()
    assert run.status == 0, run.out + run.err
    results = json.loads(run.out)
    assert results["tests"][0]["message"].startswith("48 calls; 24 requests of up to 18148 KiB met, ")
    assert results["area"]["hit"] > 0
    assert results["area"]["stale_reads"] == 0


def refused(run: Any) -> str:
    """The sentence that refuses a run before QEMU starts."""
    assert (run.wait().status, run.out) == (2, "")
    run.check_nothing_left()
    return str(run.err)


def test_what_is_no_trace(gcma: Start, pi3: Path, tmp_path: Path) -> None:
    path = tmp_path / "not.txt"
    path.write_text("hello\n")
    assert refused(gcma("test", pi3, "--trace", path)).startswith(
        f"gcma test: {path}: not a trace of a known form"
    )
    missing = tmp_path / "missing"
    assert f"{missing}" in refused(gcma("test", pi3, "--trace", missing))


def test_options_that_do_not_go_together(gcma: Start, pi3: Path, tmp_path: Path) -> None:
    assert "not allowed with argument" in refused(gcma("test", pi3, "--trace", "f", "-k", "dma"))
    assert refused(gcma("test", pi3, "--area", "cma")) == (
        "gcma test: --area picks requests of a trace and needs --trace\n"
    )


def test_a_board_without_a_dma_controller(
    gcma: Start, pi3: Path, tmp_path: Path, counter_example: Path
) -> None:
    tree = tmp_path / "no-dma.dts"
    tree.write_text(pi3.read_text().replace('compatible = "brcm,bcm2835-dma"', 'compatible = "example,none"'))
    run = gcma("test", tree, "--trace", counter_example, "--json", "-").wait()
    assert run.status == 0, run.err
    [test] = json.loads(run.out)["tests"]
    assert (test["outcome"], test["message"]) == ("skipped", "the tree has no dma")


def test_qemu_dies_in_a_trace(gcma: Start, pi4: Path, counter_example: Path) -> None:
    run = gcma("test", pi4, "--trace", counter_example)
    os.kill(run.in_a_case(), signal.SIGKILL)
    run.wait()
    assert run.status == 1, run.err
    assert run.rows() == ["FAILED trace"]
    assert "dma: QEMU ended (killed by SIGKILL)" in run.out
    run.check_nothing_left()
