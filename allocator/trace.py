"""Traces: what a system did to its page cache and its contiguous areas, as rows of numbers.

An event is a row of five 64-bit numbers, whatever file it came from:

    TIME   nanoseconds since any moment; never decreasing in a well-made trace
    OP     READ   the program reads page B of file A: the page cache is to be simulated
           FILL   page B of file A was read from disk into the page cache: recorded, not simulated
           EVICT  page B of file A left the page cache
           DROP   pages B .. B + C - 1 of file A ceased to exist (truncate, unlink); all from B on when C is 0
           ALLOC  cma_alloc of B pages, alignment order C, from now on buffer A
           FREE   buffer A is released
           WRITE  the program writes page B of file A, all of it: simulated as a READ is; C is 1 when it
                  goes to disk at once (fsync, O_SYNC), else 0
    A, B, C   as told above; files and buffers are small dense numbers that the reader deals out

`allocator.trace_open` recognises a file's form. A reader yields blocks of such rows in bounded memory,
however large the file is. docs/trace-format.md describes the project's own compact form.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from allocator.compiled import Rows
from allocator.error import AllocatorError

__all__ = ["BLOCK", "OPS", "Numbers", "Trace", "TraceError"]

TIME: Final = 0
OP: Final = 1
A: Final = 2
B: Final = 3
C: Final = 4
COLUMNS: Final = 5

READ: Final = 0
FILL: Final = 1
EVICT: Final = 2
DROP: Final = 3
ALLOC: Final = 4
FREE: Final = 5
WRITE: Final = 6
OPS: Final = ("read", "fill", "evict", "drop", "alloc", "free", "write")

BLOCK: Final = 1 << 16
"""Events in a block, at most: 2.5 MiB."""
PAGES_MAX: Final = 1 << 30
ALIGN_MAX: Final = 20
TIME_MAX: Final = 1 << 62
"""146 years, so that no sum of times overflows."""
NUMBERS_MAX: Final = 1 << 26
"""Files, and buffers held at once, that a trace may have."""


class TraceError(AllocatorError):
    """A trace cannot be read. `str()` names the file and the line, record or block, and what was expected."""


class Trace(ABC):
    """A trace being read.

    path         of the file
    form         name of its form
    skipped      kinds of lines or records that were left out -> how many
    bytes_total  size of the file, 0 for a pipe
    bytes_read   how far reading has come, 0 in a pipe
    """

    form: str

    def __init__(self, path: Path, stream: BinaryIO, raw: BinaryIO) -> None:
        self.path = path
        self.stream = stream
        self.raw = raw
        self.skipped: Counter[str] = Counter()
        self.bytes_total = path.stat().st_size

    @property
    def bytes_read(self) -> int:
        """Bytes of the file that have been read."""
        if self.raw.closed:
            return self.bytes_total
        return self.raw.tell() if self.raw.seekable() else 0

    def blocks(self) -> Iterator[Rows]:
        """The events, in blocks of up to `BLOCK` rows. The file is closed when they end, for whatever reason.

        Raises TraceError.
        """
        try:
            yield from self._blocks()
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise self.fail("its compressed data", f"is damaged: {error}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        self.stream.close()
        self.raw.close()

    @abstractmethod
    def _blocks(self) -> Iterator[Rows]: ...

    def fail(self, where: str, why: str) -> TraceError:
        """An error at `where`, to be raised."""
        return TraceError(f"{self.path}: {where}: {why}")


class Numbers:
    """Dense numbers for whatever names files or buffers; numbers given up are dealt out again."""

    def __init__(self) -> None:
        self._known: dict[object, int] = {}
        self._unused: list[int] = []
        self._next = 0

    def of(self, name: object) -> int:
        """The number of `name`, a new one if it has none."""
        number = self._known.get(name)
        if number is None:
            number = self._known[name] = self._unused.pop() if self._unused else self._next
            self._next = max(self._next, number + 1)
            if self._next > NUMBERS_MAX:
                raise TraceError(f"the trace holds more than {NUMBERS_MAX} files or buffers: split it")
        return number

    def give_up(self, name: object) -> int | None:
        """Forget `name`; the number it had."""
        number = self._known.pop(name, None)
        if number is not None:
            self._unused.append(number)
        return number

    def __contains__(self, name: object) -> bool:
        return name in self._known


def rows(events: list[tuple[int, int, int, int, int]]) -> Rows:
    """Events as a block."""
    return np.array(events, np.int64).reshape(-1, COLUMNS)
