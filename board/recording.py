"""A recorded trace, read whole: what a board is to repeat."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, cast

import numpy as np

from allocator.compiled import Rows
from allocator.trace import ALLOC, OP, Trace, TraceError
from allocator.trace_open import open_trace

EVENTS_MAX: Final = 1 << 20
"""Events that are repeated: minutes on a board, where ``gcma replay`` takes a second."""
BYTES_MAX: Final = 256 << 20
"""Bytes of them, unpacked: a line of text has about 100."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace as the subject of a test.

    :ivar path: of the file
    :ivar events: rows as :mod:`allocator.trace` describes them
    :ivar skipped: kinds of lines that its reader left out, and how many
    """

    id: ClassVar[str] = "trace"
    title: ClassVar[str] = "the requests of a trace, each buffer written by DMA and verified"
    device: ClassVar[str] = "dma"

    path: str
    events: Rows = field(repr=False)
    skipped: Mapping[str, int]


def load_recording(path: str | Path, area: str | None = None) -> Recording:
    """Read a trace of any form that is known.

    :param area: only requests to the CMA area of that name
    :raise allocator.trace.TraceError: it cannot be read, is too long for a board, or asks for no buffer
    :raise OSError: the file cannot be opened
    """
    trace = open_trace(path, area=area)
    trace.stream = cast(BinaryIO, _Bounded(trace))
    blocks = []
    count = 0
    for block in trace.blocks():
        blocks.append(block)
        count += len(block)
        if count > EVENTS_MAX:
            trace.close()
            raise TraceError(_too_long(path, f"{EVENTS_MAX} events"))
    events = np.concatenate(blocks) if blocks else np.empty((0, 5), np.int64)
    if not (events[:, OP] == ALLOC).any():
        where = f" to area {area}" if area is not None else ""
        raise TraceError(f"{path}: expected requests for buffers{where} (cma_alloc), found none among "
                         f"{count} events: record with -e cma")  # fmt: skip
    return Recording(str(path), events, dict(trace.skipped))


class _Bounded:
    """A trace's stream, up to BYTES_MAX: what a packed file unpacks to may have no end."""

    def __init__(self, trace: Trace) -> None:
        self._path = trace.path
        self._stream = trace.stream
        self._left = BYTES_MAX

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes."""
        return self._count(self._stream.read(size))

    def readline(self, size: int) -> bytes:
        """A line, or ``size`` bytes of it."""
        return self._count(self._stream.readline(size))

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise TraceError(_too_long(self._path, f"{BYTES_MAX >> 20} MiB, unpacked"))
        return data

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _too_long(path: str | Path, limit: str) -> str:
    return (
        f"{path}: the trace has more than {limit}: a board repeats shorter ones; cut it, "
        "or use gcma replay, which takes any length"
    )
