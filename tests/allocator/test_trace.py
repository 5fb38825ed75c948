"""Every form of trace: what is read, what is left out, and what is refused with which words."""

import gzip
import lzma
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.error import AllocatorError
from allocator.trace import ALLOC, DROP, EVICT, FILL, FREE, READ, WRITE, TraceError, rows
from allocator.trace_compact import CompactWriter
from allocator.trace_open import open_trace
from allocator.trace_oracle import RECORD

FTRACE = """\
# tracer: nop
#
#  TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
  extra-104  [002] .....  4.436726: cma_release: name=gcma pfn=0x2c020 page=(____ptrval____) count=16
  extra-104  [002] .....  4.436759: cma_alloc_start: name=gcma request_count=16 available_count=65504 align=4
  extra-104  [002] .....  4.436845: cma_alloc_finish: name=gcma pfn=0x2c020 page=0 count=16 align=4 errorno=0
  extra-104  [002] .....  4.436900: cma_alloc_finish: name=gcma pfn=0x0 page=0 count=64 align=6 errorno=-16
  extra-104  [002] .....  4.619131: mm_filemap_add_to_page_cache: dev 7:0 ino c pfn=0x2cd8 ofs=8192 order=1
  kswapd0-63 [003] d..2.  6.453702: mm_filemap_delete_from_page_cache: dev 7:0 ino c pfn=0x2 ofs=8192 order=0
  kswapd0-63 [003] d..2.  6.453703: mm_vmscan_kswapd_wake: nid=0 order=0
  extra-104  [002] .....  7.000001: cma_release: name=gcma pfn=0x2c020 page=(____ptrval____) count=16
"""
EXPECTED = [
    [4436845000, ALLOC, 0, 16, 4],
    [4436900000, ALLOC, 1, 64, 6],
    [4436900000, FREE, 1, 0, 0],
    [4619131000, FILL, 0, 2, 0],
    [4619131000, FILL, 0, 3, 0],
    [6453702000, EVICT, 0, 2, 0],
    [7000001000, FREE, 0, 0, 0],
]


def read(path, **how):
    trace = open_trace(path, **how)
    blocks = list(trace.blocks())
    return trace, np.concatenate(blocks).tolist() if blocks else []


def written(tmp_path, text, name="trace.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refuse(path, message, **how):
    with pytest.raises(TraceError) as caught:
        read(path, **how)
    assert str(caught.value) == f"{path}: {message}"


def test_ftrace_text(tmp_path):
    trace, events = read(written(tmp_path, FTRACE))
    assert events == EXPECTED
    assert dict(trace.skipped) == {
        "comments": 3,
        "releases of buffers allocated before the trace began": 1,
    }
    assert trace.bytes_read == trace.bytes_total


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_compressed_text(tmp_path, pack):
    assert read(written(tmp_path, pack(FTRACE.encode())))[1] == EXPECTED


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_pipe(tmp_path, pack):
    """It cannot be read twice, and its end is where the writer closes it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(pack(FTRACE.encode() * 2000),))
    writer.start()
    trace, events = read(pipe)
    writer.join()
    assert events[: len(EXPECTED)] == EXPECTED
    assert len(events) == 2000 * len(EXPECTED)
    assert (trace.bytes_total, trace.bytes_read) == (0, 0)


def test_records_whose_times_go_back_are_no_trace(tmp_path):
    records = np.zeros(5, RECORD)
    records["time"] = [1, 2, 3, 2, 5]
    refuse(
        written(tmp_path, records.tobytes(), "x.bin"),
        "not a trace of a known form: expected ftrace or perf script text, CSV with a header, records of "
        "oracleGeneral (24 bytes each) or a gcma trace; --form says which",
    )


def test_perf_script_text(tmp_path):
    text = (
        "cat 1 [001]  10.000001: cma:cma_alloc_finish: name=cma pfn=0x100 page=0 count=4 align=2 errorno=0\n"
        "cat 1 [001]  10.5: filemap:mm_filemap_add_to_page_cache: dev 0:2 ino 1f page=0x1 pfn=1 ofs=0\n"
    )
    assert read(written(tmp_path, text))[1] == [[10000001000, ALLOC, 0, 4, 2], [10500000000, FILL, 0, 0, 0]]


def test_kernels_before_5_13_name_one_event(tmp_path):
    text = (
        " a-1 [0] .... 1.0: cma_alloc: pfn=2c020 page=000 count=16 align=4\n"
        " a-1 [0] .... 2.0: cma_release: pfn=2c020 page=0 count=16\n"
    )
    assert read(written(tmp_path, text))[1] == [[10**9, ALLOC, 0, 16, 4], [2 * 10**9, FREE, 0, 0, 0]]


def test_one_area_of_a_recording(tmp_path):
    trace, events = read(written(tmp_path, FTRACE), area="other")
    assert [event[1] for event in events] == [FILL, FILL, EVICT]
    assert trace.skipped["requests to area gcma"] == 4


def test_a_number_given_up_is_dealt_out_again(tmp_path):
    pair = "a-1 [0] .... 1.0: cma_alloc_finish: name=g pfn={0:#x} count=1 align=0 errorno=0\n"
    pair += "a-1 [0] .... 1.1: cma_release: name=g pfn={0:#x} count=1\n"
    _, events = read(written(tmp_path, " " + " ".join(pair.format(pfn) for pfn in range(1, 50))))
    assert {event[2] for event in events} == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            " a-1 [0] .... 1.0: cma_alloc_finish: name=g pfn=0x1 count=4\n",
            "line 1: cma_alloc_finish cannot be used: align is missing",
        ),
        (
            "# tracer: nop\n a-1 [0] .... 1.0: cma_release: name=g pfn=0x1 count=0\n",
            "line 2: cma_release cannot be used: count=0 is out of range",
        ),
        (
            " a-1 [0] .... 9999999999.5: cma_release: name=g pfn=0x1 count=1\n",
            "line 1: cma_release cannot be used: the time 9999999999.5 is out of range",
        ),
        (
            " a-1 [0] .... " + "9" * 6000 + ".5: cma_release: name=g pfn=0x1 count=1\n",
            "1 lines: no event of cma or filemap is among them: record with -e cma -e filemap",
        ),
        (
            " a-1 [0] .... 1.0: mm_filemap_add_to_page_cache: dev 7:0 ino c pfn=0x1 o",
            "line 1: mm_filemap_add_to_page_cache cannot be used: ofs is missing",
        ),
        (
            " a-1 [0] .... 1.0: mm_filemap_add_to_page_cache: dev 7:0 ino c pfn=0x1 ofs=-4096\n",
            "line 1: mm_filemap_add_to_page_cache cannot be used: ofs=-4096 order=0 is out of range",
        ),
        (
            " a-1 [0] .... 1.0: mm_filemap_add_to_page_cache: dev 7:0 ino c pfn=0x1 ofs=0 order=-1\n",
            "line 1: mm_filemap_add_to_page_cache cannot be used: ofs=0 order=-1 is out of range",
        ),
        (
            " a-1 [0] .... 1.0: cma_alloc_finish: name=g pfn=zero count=4 align=0\n",
            "line 1: cma_alloc_finish cannot be used: pfn=zero is no number",
        ),
        (
            " a-1 [0] .... 1.0: mm_filemap_add_to_page_cache: dev 7:0 in",
            "line 1: mm_filemap_add_to_page_cache cannot be used: dev or ino is missing",
        ),
        (
            " a-1 [0] .... 1.0: sched_switch: x\n",
            "1 lines: no event of cma or filemap is among them: record with -e cma -e filemap",
        ),
        ("", "the file is empty: expected a trace"),
        (
            "hello\n",
            "not a trace of a known form: expected ftrace or perf script text, CSV with a header, records of "
            "oracleGeneral (24 bytes each) or a gcma trace; --form says which",
        ),
        (
            "a" * 70000 + "\n a-1 [0] .... 1.0: cma_release: x\n",
            "not a trace of a known form: expected ftrace or perf script text, CSV with a header, records of "
            "oracleGeneral (24 bytes each) or a gcma trace; --form says which",
        ),
        ("time,what\n1,2\n", "line 1: the header names time, what: expected id, or file and index"),
        (
            "file,index\n1,2\n1,x\n",
            "line 3: cannot be used: index 'x' is no number below 4503599627370496",
        ),
        ("id,time\n1,x\n", "line 2: cannot be used: time 'x' is no number of seconds below 4294967296"),
        ("id,op\n1,x\n", "line 2: cannot be used: op 'x' is neither r nor w"),
        ("file,index\n1\n", "line 2: cannot be used: it has 1 of the header's 2 columns"),
        ("time,id\nnan,2\n", "line 2: cannot be used: time 'nan' is no number of seconds below 4294967296"),
        ("file,index\n1,-1\n", "line 2: cannot be used: index '-1' is no number below 4503599627370496"),
    ],
)
def test_refused_with_a_reason(tmp_path, text, message):
    refuse(written(tmp_path, text), message)


def test_an_unknown_form(tmp_path):
    refuse(
        written(tmp_path, "x"),
        "form 'elf' is unknown: use one of gcma, ftrace, csv, oracleGeneral",
        form="elf",
    )


def test_csv(tmp_path):
    assert read(written(tmp_path, "id,time\nalpha,1.5\nbeta,2\nalpha,3\n"))[1] == [
        [1500000000, READ, 0, 0, 0],
        [2000000000, READ, 0, 1, 0],
        [3000000000, READ, 0, 0, 0],
    ]
    assert read(written(tmp_path, "file,index\n/etc/a,7\n/etc/b,9\n"))[1] == [
        [0, READ, 0, 7, 0],
        [0, READ, 1, 9, 0],
    ]
    assert read(written(tmp_path, "op,file,index\nr,a,7\nw,a,9\nWrite,b,1\n"))[1] == [
        [0, READ, 0, 7, 0],
        [0, WRITE, 0, 9, 0],
        [0, WRITE, 1, 1, 0],
    ]
    assert read(written(tmp_path, "id,op\nx,w\n"))[1] == [[0, WRITE, 0, 0, 0]]


def test_oracle_general(tmp_path):
    records = np.zeros(3, RECORD)
    records["time"] = [1, 2, 4_000_000_000]
    records["id"] = [5, (3 << 52) + 1, 2**64 - 1]
    path = written(tmp_path, records.tobytes(), "t.bin")
    assert read(path)[1] == [
        [10**9, READ, 0, 5, 0],
        [2 * 10**9, READ, 3, 1, 0],
        [4_000_000_000 * 10**9, READ, 4095, (1 << 52) - 1, 0],
    ]
    cut = written(tmp_path, records.tobytes()[:-1], "cut.bin")
    refuse(cut, "record 3: the file ends within it", form="oracleGeneral")


times, files, indexes = st.integers(0, 2**62), st.integers(0, 2**20), st.integers(0, 2**52 - 1)
events = st.one_of(
    st.tuples(times, st.sampled_from([READ, FILL, EVICT]), files, indexes, st.just(0)),
    st.tuples(times, st.just(WRITE), files, indexes, st.integers(0, 1)),
    st.tuples(times, st.just(DROP), files, indexes, st.integers(0, 99)),
    st.tuples(times, st.just(ALLOC), st.integers(0, 99), st.integers(1, 2**30), st.integers(0, 20)),
    st.tuples(times, st.just(FREE), st.integers(0, 99), st.just(0), st.just(0)),
)


@settings(deadline=None, max_examples=60)
@given(given_events=st.lists(events, max_size=40))
def test_compact_traces_keep_every_event(tmp_path_factory, given_events):
    path = tmp_path_factory.mktemp("trace") / "t.gcma"
    with CompactWriter(path) as writer:
        writer.write(rows(given_events))
    assert read(path)[1] == [list(event) for event in given_events]


def small(tmp_path):
    path = tmp_path / "t.gcma"
    with CompactWriter(path, {"source": "test"}) as writer:
        writer.write(rows([(5, ALLOC, 1, 4, 2), (9, FREE, 1, 0, 0)]))
    return path


def test_every_cut_and_every_flipped_bit_is_noticed(tmp_path):
    whole = small(tmp_path).read_bytes()
    header_end = 12 + int.from_bytes(whole[8:12], "little")
    damaged = [whole[:size] for size in range(1, len(whole))]
    for at in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            damaged.append(bytes(flipped))
    accepted = 0
    for data in damaged:
        path = written(tmp_path, data, "damaged.gcma")
        try:
            assert read(path, form="gcma")[1] == EXPECTED_SMALL
            accepted += 1
        except TraceError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
    # Only the header's free text and the unused bytes of the last block's head may change unnoticed.
    assert accepted < 8 * (header_end + 8)


EXPECTED_SMALL = [[5, ALLOC, 1, 4, 2], [9, FREE, 1, 0, 0]]


@pytest.mark.parametrize(
    "wrong",
    [
        (-1, READ, 0, 0, 0),
        ((1 << 62) + 1, READ, 0, 0, 0),
        (0, 7, 0, 0, 0),
        (0, WRITE, 0, 0, 2),
        (0, WRITE, 0, 1 << 52, 0),
        (0, READ, -1, 0, 0),
        (0, ALLOC, 1 << 40, 1, 0),
        (0, ALLOC, 0, 0, 0),
        (0, ALLOC, 0, 1, 21),
        (0, READ, 0, 1 << 52, 0),
    ],
)
def test_numbers_that_would_leave_the_arrays_are_refused(tmp_path, wrong):
    path = tmp_path / "w.gcma"
    with CompactWriter(path) as writer:
        writer.write(rows([wrong]))
    refuse(path, f"block 1: event 1 makes no sense: {list(wrong)}")


def test_traces_of_version_1_are_read_and_have_no_writes(tmp_path):
    whole = small(tmp_path).read_bytes()
    assert whole[7] == 2
    older = written(tmp_path, whole[:7] + b"\1" + whole[8:], "older.gcma")
    assert read(older)[1] == EXPECTED_SMALL
    path = tmp_path / "w.gcma"
    with CompactWriter(path) as writer:
        writer.write(rows([(0, WRITE, 0, 0, 0)]))
    assert read(path)[1] == [[0, WRITE, 0, 0, 0]]
    path.write_bytes(path.read_bytes().replace(b"gcmatrc\2", b"gcmatrc\1"))
    refuse(path, "block 1: event 1 makes no sense: [0, 6, 0, 0, 0]")
    path.write_bytes(b"gcmatrc\3" + whole[8:])
    refuse(path, "header: not a gcma trace of version 1 or 2")


def test_pages_dirtied_in_a_recording_are_left_out(tmp_path):
    """The event names a disk and a number, which is no file: partitions of one disk share it."""
    dirtied = " a-1 [0] .... 5.0: writeback_dirty_folio: bdi 259:0: ino=12 index=2\n"
    trace, events = read(written(tmp_path, FTRACE + dirtied))
    assert events == EXPECTED
    assert trace.skipped["events writeback_dirty_folio"] == 1


def test_errors_are_of_the_packages_family():
    assert issubclass(TraceError, AllocatorError)
