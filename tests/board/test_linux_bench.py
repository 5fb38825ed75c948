"""The comparison of real CMA with the model, on answers that are known."""

import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

import dts
from allocator.trace import ALLOC, FREE
from allocator.trace_open import open_trace
from board.kernel import Kernel
from board.linux import LinuxPlan, plan_linux
from board.linux_bench import (
    SCENARIOS,
    SIZES,
    BenchError,
    Request,
    guaranteed,
    read_calls,
    requests,
    script,
    trace_of,
)
from dts import Range

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "tests" / "data" / "traces"
PLACE = Range(0x1000_0000, 16 << 20)  # pfn 0x10000, 4096 pages
AVAILABLE = "@@ file /sys/kernel/mm/cma/gcma/available_pages\n{}\n@@ end\n"


def log(*answers: str, available: int = 4096) -> str:
    return AVAILABLE.format(available) + "".join(f"@@ {answer}\n" for answer in answers)


@pytest.fixture(scope="module")
def plan() -> LinuxPlan:
    return plan_linux(dts.load(ROOT / "dts/boards/rpi-4-b.dts"), Kernel(Path("Image"), 0x0320_0000))


def test_requests_repeat_and_hold_three() -> None:
    sequence = requests(40)
    assert sequence == requests(40)
    assert sequence != requests(40, seed=2)
    live: set[int] = set()
    for request in sequence:
        if request.pages:
            assert request.pages in SIZES
            assert request.order == min(request.pages.bit_length() - 1, 8)
            live.add(request.slot)
        else:
            live.remove(request.slot)
        assert len(live) <= 3


def test_the_script_has_a_load_before_every_request() -> None:
    pinned = next(each for each in SCENARIOS if each.name == "pinned")
    lines = script(pinned, [Request(0, 16, 4), Request(0), Request(1, 256, 8)]).splitlines()
    first = lines.index("alloc 0 16 4")
    assert lines[first - 3 : first] == list(pinned.each)
    assert lines[first + 1] == "free 0"
    assert lines[-1] == "alloc 1 256 8"
    assert lines.index("map 0 420") < first


def test_a_traced_script_begins_and_ends_the_trace() -> None:
    lines = script(SCENARIOS[0], [Request(0, 16, 4)], trace=True).splitlines()
    assert lines[0] == "trace 1"
    assert lines[-2:] == ["trace 0", "show /sys/kernel/tracing/trace"]


def test_the_same_places() -> None:
    sequence = [Request(0, 16, 4), Request(1, 256, 8), Request(0), Request(2, 16, 4)]
    calls = read_calls(
        log("alloc 0 65536 1000", "alloc 1 65792 2000", "free 0 65536 10", "alloc 2 65536 3"), sequence, PLACE
    )
    assert [(call.pfn, call.model_pfn, call.skipped) for call in calls] == [
        (65536, 65536, 0), (65792, 65792, 0), (65536, 65536, 0),
    ]  # fmt: skip
    assert [call.latency_ns for call in calls] == [16000, 32000, 48]


def test_what_the_kernel_took_at_boot_is_taken() -> None:
    (call,) = read_calls(log("alloc 0 65568 1", available=4064), [Request(0, 16, 4)], PLACE)
    assert call.model_pfn == 65568


def test_a_place_passed_over_is_counted_and_not_carried_on() -> None:
    sequence = [Request(0, 256, 8), Request(1, 256, 8)]
    calls = read_calls(log("alloc 0 66048 1", "alloc 1 65536 1"), sequence, PLACE)
    assert [(call.pfn, call.model_pfn, call.skipped) for call in calls] == [
        (66048, 65536, 2), (65536, 65536, 0),
    ]  # fmt: skip
    assert [call.agrees for call in calls] == [False, True]


def test_the_model_knows_the_pins() -> None:
    sequence = [Request(0, 256, 8), Request(1, 512, 8)]
    pins = ("pinned 65537 1", "pinned 65793 1", "pinned 7 1")
    lines = (*pins, "alloc 0 66048 1", "unpinned", "alloc 1 65536 1")
    calls = read_calls(log(*lines), sequence, PLACE)
    assert [(call.model_pfn, call.skipped) for call in calls] == [(66048, 2), (65536, 0)]
    assert all(call.agrees for call in calls)


def test_a_pinned_page_holds_its_folio() -> None:
    """A pin in the first half of a huge page keeps a request out of the second half."""
    sequence = [Request(0, 256, 8)]
    (small,) = read_calls(log("pinned 65537 1", "alloc 0 65792 1"), sequence, PLACE)
    (huge,) = read_calls(log("pinned 65536 512", "pinned 65536 512", "alloc 0 66048 1"), sequence, PLACE)
    assert [(call.model_pfn, call.skipped, call.agrees) for call in (small, huge)] == [
        (65792, 1, True), (66048, 2, True),
    ]  # fmt: skip


def test_a_model_that_fails_where_linux_does() -> None:
    pins = [f"pinned {65536 + 256 * index} 1" for index in range(16)]
    (call,) = read_calls(log(*pins, "alloc 0 0 1"), [Request(0, 256, 8)], PLACE)
    assert (call.agrees, call.skipped) == (True, 16)


def test_a_failure_has_tried_every_place() -> None:
    (call,) = read_calls(log("alloc 0 0 1"), [Request(0, 2048, 8)], PLACE)
    assert (call.pfn, call.model_pfn, call.skipped) == (None, 65536, 9)


def test_no_room_is_a_failure_of_both() -> None:
    (call,) = read_calls(log("alloc 0 0 1"), [Request(0, 8192, 8)], PLACE)
    assert (call.pfn, call.model_pfn, call.skipped) == (None, None, 0)


@pytest.mark.parametrize("pfn", [65537, 65536 + 4096, 65536 - 256])
def test_a_place_off_the_way_is_refused(pfn: int) -> None:
    with pytest.raises(BenchError, match=f"at pfn {pfn:#x}, where first fit never comes to"):
        read_calls(log(f"alloc 0 {pfn} 1"), [Request(0, 256, 8)], PLACE)


def test_missing_answers_are_refused() -> None:
    with pytest.raises(BenchError, match="the guest answered 1 of 2 requests"):
        read_calls(log("alloc 0 65536 1"), [Request(0, 16, 4), Request(1, 16, 4)], PLACE)


def test_the_guaranteed_area_meets_them_all(plan: LinuxPlan) -> None:
    done = guaranteed(plan, requests(32))
    assert done.succeeded == done.requests == 32
    assert done.dropped_pages >= max(SIZES)


def test_the_trace_in_a_log() -> None:
    text = "noise\n@@ file /sys/kernel/tracing/trace\na\nb\n@@ end\nnoise\n"
    assert list(trace_of(text)) == ["a", "b"]


@pytest.mark.parametrize(("name", "failed"), [("idle", 0), ("pinned", 3)])
def test_recorded_traces_are_read(name: str, failed: int) -> None:
    path = TRACES / f"linux-7.3-cma-{name}.txt.xz"
    text = lzma.decompress(path.read_bytes()).decode()
    assert text.count("cma_alloc_finish") == 32
    assert text.count("errorno=-") == failed
    trace = open_trace(path)
    kinds = [int(row[1]) for block in trace.blocks() for row in block]
    trace.close()
    assert kinds.count(ALLOC) == 32
    # a request that failed there is one that is given back at once
    assert kinds.count(FREE) == text.count("cma_release:") + failed


def test_a_recorded_file_tree_beside_a_camera_is_replayed() -> None:
    path = TRACES / "linux-7.3-files-and-camera.txt.xz"
    options = ["--size", "128M", "--memory", "128M", "--json", "-"]
    run = subprocess.run(
        [sys.executable, "-m", "gcma", "replay", str(path), *options],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lanes = {lane["allocator"]: lane for lane in json.loads(run.stdout)["allocators"]}
    assert {lane["requests"] for lane in lanes.values()} == {24}
    assert {lane["failed"] for lane in lanes.values()} == {0}
    assert {lane["reads"] for lane in lanes.values()} == {24968}
    assert lanes["carveout"]["disk_reads"] == 24968
    assert lanes["gcma"]["disk_reads"] + lanes["gcma"]["restored"] == 24968
    assert lanes["gcma"]["restored"] > 10_000
