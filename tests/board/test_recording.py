"""Reading a trace that a board is to repeat: any form, but not any length."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from allocator.trace import ALLOC, FREE, READ, TraceError
from allocator.trace_compact import CompactWriter
from board import load_recording

TEXT = """\
# tracer: nop
  x-1 [000] ..... 1.000000: cma_alloc_finish: name=gcma pfn=0x100 page=0 count=4 align=2 errorno=0
  x-1 [000] ..... 1.000001: cma_alloc_finish: name=other pfn=0x900 page=0 count=8 align=3 errorno=0
  x-1 [000] ..... 1.000002: cma_release: name=gcma pfn=0x100 page=0 count=4
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "trace.txt"
    path.write_text(TEXT)
    return path


def test_all_requests(text: Path) -> None:
    recording = load_recording(text)
    assert recording.events[:, 1].tolist() == [ALLOC, ALLOC, FREE]
    assert recording.skipped == {"comments": 1}


def test_requests_to_one_area(text: Path) -> None:
    recording = load_recording(text, "gcma")
    assert recording.events[:, 1].tolist() == [ALLOC, FREE]
    assert recording.skipped["requests to area other"] == 1


def test_no_request(text: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        load_recording(text, "absent")
    assert str(caught.value).endswith("lines: no request to area absent is among them, only to gcma, other")
    path = tmp_path / "reads.csv"
    path.write_text("id,time\n1,0\n2,0\n")
    with pytest.raises(TraceError) as caught:
        load_recording(path)
    assert str(caught.value) == (
        f"{path}: expected requests for buffers (cma_alloc), found none among 2 events: record with -e cma"
    )


def test_more_events_than_a_board_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.recording.EVENTS_MAX", 100)
    path = tmp_path / "long.gcma"
    with CompactWriter(path) as writer:
        writer.write(np.array([[0, READ, 0, k, 0] for k in range(101)], np.int64))
    with pytest.raises(TraceError) as caught:
        load_recording(path)
    assert str(caught.value) == (
        f"{path}: the trace has more than 100 events: a board repeats shorter ones; cut it, "
        "or use gcma replay, which takes any length"
    )


def test_what_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are no event yield nothing that could be counted."""
    monkeypatch.setattr("board.recording.BYTES_MAX", 1 << 20)
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(TEXT.encode() + b"# nothing\n" * 300_000, preset=0))
    assert path.stat().st_size < 10_000
    with pytest.raises(TraceError, match=r"^.*bomb\.xz: the trace has more than 1 MiB, unpacked: a board"):
        load_recording(path)


def test_an_endless_device() -> None:
    with pytest.raises(TraceError, match=r"^/dev/zero: "):
        load_recording("/dev/zero")
