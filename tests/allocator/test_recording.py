"""What a recording tells of its own kernel: lines as Linux prints them, and the facts from them."""

import json

import pytest

from allocator.recording import TASKS_MAX, Spans
from allocator.trace_open import open_trace
from gcma.cli import main

# Recorded with Linux 7.3.4 on the emulated Raspberry Pi 4; of a first read, two huge pages and kswapd.
LINUX_7_3 = """\
# tracer: nop
           bench-88      [000] .....    14.589466: cma_alloc_start: name=gcma request_count=4537 available_count=65504 total_count=65536 align=8
           bench-88      [000] .l...    14.598494: cma_alloc_finish: name=gcma pfn=0x2c100 page=(____ptrval____) count=4537 align=8 errorno=0
           bench-88      [000] .l...    14.628170: mm_vmscan_direct_reclaim_begin: order=9 gfp_flags=GFP_TRANSHUGE|__GFP_RETRY_MAYFAIL pid=88 memcg_id=0 
           bench-88      [000] .l...    14.628206: mm_vmscan_lru_shrink_inactive: nid=0 nr_scanned=1 nr_reclaimed=1 nr_dirty=0 nr_writeback=0 nr_congested=0 nr_immediate=0 nr_activate_anon=0 nr_activate_file=0 nr_ref_keep=0 nr_unmap_fail=0 priority=12 flags=RECLAIM_WB_FILE|RECLAIM_WB_ASYNC
           bench-88      [000] .l...    14.628442: mm_vmscan_lru_shrink_inactive: nid=0 nr_scanned=7 nr_reclaimed=5 nr_dirty=0 nr_writeback=0 nr_congested=0 nr_immediate=0 nr_activate_anon=0 nr_activate_file=0 nr_ref_keep=0 nr_unmap_fail=0 priority=10 flags=RECLAIM_WB_ANON|RECLAIM_WB_ASYNC
           bench-88      [000] .l...    14.628870: mm_vmscan_direct_reclaim_end: nr_reclaimed=34 pid=88 memcg_id=0 
           bench-88      [000] .l...    14.628905: mm_vmscan_direct_reclaim_begin: order=9 gfp_flags=GFP_TRANSHUGE|__GFP_RETRY_MAYFAIL pid=88 memcg_id=0 
         kswapd0-46      [000] .....    14.628900: mm_vmscan_kswapd_wake: nid=0 order=0
           bench-88      [000] .l...    14.629711: mm_vmscan_direct_reclaim_end: nr_reclaimed=73 pid=88 memcg_id=0 
           bench-88      [000] .....    14.637695: mm_vmscan_wakeup_kswapd: nid=0 order=0 gfp_flags=GFP_NOFS
"""  # noqa: E501, W291
FACTS = {
    "cma_alloc": {"count": 1, "total_ns": 9_028_000, "longest_ns": 9_028_000},
    "direct_reclaim": {"count": 2, "total_ns": 1_506_000, "longest_ns": 806_000},
    "pages_scanned": 8,
    "file_pages_reclaimed": 1,
    "anonymous_pages_reclaimed": 5,
    "kswapd_wakes": 1,
}
TEXT = """\
recorded: 1 call of cma_alloc took 9.03 ms in all, 9.03 ms at most
recorded: 2 direct reclaims stalled for 1.51 ms in all, 806 us at most
recorded: 8 pages scanned, 1 of files and 5 anonymous ones reclaimed; kswapd woke up 1 time
left out: 1 comments
left out: 1 events mm_vmscan_wakeup_kswapd
"""


def facts(tmp_path, text, area=None):
    path = tmp_path / "trace.txt"
    path.write_text(text)
    trace = open_trace(path, area=area)
    list(trace.blocks())
    return trace.recording.as_json()


def test_the_facts_of_linux_7_3(tmp_path):
    assert facts(tmp_path, LINUX_7_3) == FACTS


@pytest.mark.parametrize("command", ["replay", "size"])
def test_they_are_printed(tmp_path, capsys, command):
    path = tmp_path / "trace.txt"
    path.write_text(LINUX_7_3)
    assert main([command, str(path)]) == 0
    assert capsys.readouterr().out.endswith(TEXT)
    assert main([command, str(path), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["recorded"] == FACTS


def test_the_page_has_them(tmp_path, capsys):
    path = tmp_path / "trace.txt"
    path.write_text(LINUX_7_3)
    assert main(["replay", str(path), "--report", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    for line in TEXT.splitlines()[:3]:
        assert f"<p>{line.removeprefix('recorded: ')}</p>" in page


def test_a_generated_workload_has_none(capsys):
    assert main(["replay", "camera", "--seconds", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["recorded"] is None


def test_perf_script_and_older_kernels(tmp_path):
    """Perf script prints the subsystem before the event; Linux 5 had neither pid nor memcg_id."""
    text = (
        "cc1  412 [001]  20.5: vmscan:mm_vmscan_direct_reclaim_begin: order=0 gfp_flags=GFP_KERNEL\n"
        "cc1  413 [002]  20.6: vmscan:mm_vmscan_memcg_reclaim_begin: order=0 gfp_flags=GFP_KERNEL\n"
        "cc1  412 [003]  20.75: vmscan:mm_vmscan_direct_reclaim_end: nr_reclaimed=32\n"
        "cc1  413 [002]  20.7: vmscan:mm_vmscan_memcg_reclaim_end: nr_reclaimed=32\n"
        "cc1  412 [001]  21.0: cma:cma_alloc: pfn=0x100 page=0 count=4 align=2\n"
    )
    found = facts(tmp_path, text)
    assert found["direct_reclaim"] == {"count": 2, "total_ns": 350_000_000, "longest_ns": 250_000_000}
    assert found["cma_alloc"] == {"count": 0, "total_ns": 0, "longest_ns": 0}


def test_only_calls_of_the_area_that_was_asked_for(tmp_path):
    assert (
        facts(tmp_path, LINUX_7_3 + LINUX_7_3.replace("name=gcma", "name=other"), "gcma")["cma_alloc"]
        == (FACTS["cma_alloc"])
    )


@pytest.mark.parametrize("lost", ["direct_reclaim_begin", "direct_reclaim_end"])
def test_a_pair_that_lost_one_half_tells_nothing(tmp_path, lost):
    kept = [line for line in LINUX_7_3.splitlines(keepends=True) if lost not in line]
    assert facts(tmp_path, "".join(kept))["direct_reclaim"]["count"] == 0


def test_a_line_that_cannot_be_read_ends_the_run(tmp_path, capsys):
    path = tmp_path / "trace.txt"
    path.write_text(LINUX_7_3.replace("nr_reclaimed=5 ", "nr_reclaimed=x "))
    assert main(["size", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"gcma size: {path}: line 6: mm_vmscan_lru_shrink_inactive cannot be used: "
        "nr_reclaimed=x is no number\n"
    )


def test_what_is_begun_and_never_ends_is_bounded():
    spans = Spans()
    for task in range(3 * TASKS_MAX):
        spans.begin(b"%d" % task, 0)
    assert len(spans._begun) <= TASKS_MAX
    spans.end(b"%d" % (3 * TASKS_MAX - 1), 5)
    assert (spans.count, spans.total_ns) == (1, 5)
