"""The project's own trace form: a few bytes an event, checked, readable and writable as a stream.

docs/trace-format.md is its specification. In short: the magic, a JSON header, then blocks. A block is its
number of events, five columns each stored as differences in the smallest integer type that holds them,
compressed by zlib, and a CRC-32. The last block has no events and tells how many the trace has, so that a
cut file is noticed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from allocator.compiled import Rows
from allocator.steps import MAX_INDEX
from allocator.trace import (
    ALIGN_MAX,
    ALLOC,
    BLOCK,
    COLUMNS,
    DROP,
    FREE,
    NUMBERS_MAX,
    OP,
    PAGES_MAX,
    TIME,
    TIME_MAX,
    WRITE,
    A,
    B,
    C,
    Trace,
)  # fmt: skip

__all__ = ["MAGIC", "CompactTrace", "CompactWriter"]

MAGIC: Final = b"gcmatrc"
"""A byte follows: the version."""
VERSION: Final = 2
"""What is written."""
LAST_OPS: Final = {1: FREE, 2: WRITE}
"""The last event that each version has."""
HEADER: Final = struct.Struct("<I")
BLOCK_HEAD: Final = struct.Struct("<IIQ")
"""Bytes of compressed data, its CRC-32, events in the block (in the last: events in all)."""
TYPES: Final = tuple(np.dtype(name) for name in ("<i1", "<i2", "<i4", "<i8"))
DATA_MAX: Final = BLOCK * COLUMNS * 9
HEADER_MAX: Final = 1 << 20


class CompactTrace(Trace):
    """A gcma trace."""

    form = "gcma"

    def _blocks(self) -> Iterator[Rows]:
        self._last_op = self._header()
        total = number = 0
        while True:
            number += 1
            where = f"block {number}"
            size, check, count = BLOCK_HEAD.unpack(self._read(BLOCK_HEAD.size, where))
            if size == 0:
                if count != total:
                    raise self.fail(where, f"the trace says that it has {count} events, it has {total}")
                return
            if not 0 < count <= BLOCK or size > DATA_MAX:
                raise self.fail(where, f"{count} events in {size} bytes: expected 1 to {BLOCK} events")
            data = self._read(size, where)
            if zlib.crc32(data) != check:
                raise self.fail(where, "its checksum is wrong: the file is damaged")
            block = self._decode(data, count, where)
            total += count
            yield block

    def _header(self) -> int:
        """The last event that a trace of this version may have."""
        *magic, version = self._read(len(MAGIC) + 1, "header")
        if bytes(magic) != MAGIC or version not in LAST_OPS:
            raise self.fail("header", f"not a gcma trace of version {' or '.join(map(str, LAST_OPS))}")
        (size,) = HEADER.unpack(self._read(HEADER.size, "header"))
        if size > HEADER_MAX:
            raise self.fail("header", f"{size} bytes long: expected at most {HEADER_MAX}")
        try:
            header = json.loads(self._read(size, "header"))
        except ValueError as error:
            raise self.fail("header", f"expected JSON: {error}") from error
        if not isinstance(header, dict) or header.get("page_size") != 4096:
            raise self.fail("header", "expected an object with page_size 4096")
        return LAST_OPS[version]

    def _read(self, size: int, where: str) -> bytes:
        data = self.stream.read(size)
        if len(data) != size:
            raise self.fail(where, "the file ends within it")
        return data

    def _decode(self, data: bytes, count: int, where: str) -> Rows:
        unpack = zlib.decompressobj()
        try:
            raw = unpack.decompress(data, DATA_MAX)
        except zlib.error as error:
            raise self.fail(where, f"cannot be decompressed: {error}") from error
        block = np.empty((count, COLUMNS), np.int64)
        at = 0
        for column in range(COLUMNS):
            if at >= len(raw) or raw[at] >= len(TYPES):
                raise self.fail(where, f"column {column} is missing or of an unknown type")
            kind = TYPES[raw[at]]
            at += 1
            if at + count * kind.itemsize > len(raw):
                raise self.fail(where, f"column {column} is cut")
            block[:, column] = np.cumsum(np.frombuffer(raw, kind, count, at), dtype=np.int64)
            at += count * kind.itemsize
        if at != len(raw) or unpack.unconsumed_tail:
            raise self.fail(where, "data follows its last column")
        self._sane(block, where)
        return block

    def _sane(self, block: Rows, where: str) -> None:
        """Refuse what the steps that run over events would take for an index."""
        time, op, a, b, c = (block[:, column] for column in (TIME, OP, A, B, C))
        alloc, buffers = op == ALLOC, (op == ALLOC) | (op == FREE)
        wrong = (op < 0) | (op > self._last_op) | (a < 0) | (a >= NUMBERS_MAX) | (b < 0) | (c < 0)
        wrong |= (time < 0) | (time > TIME_MAX)
        wrong |= alloc & ((b < 1) | (b > PAGES_MAX) | (c > ALIGN_MAX))
        wrong |= ~buffers & (b >= MAX_INDEX)
        wrong |= (op == DROP) & (c >= MAX_INDEX) | (op == WRITE) & (c > 1)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise self.fail(where, f"event {first + 1} makes no sense: {block[first].tolist()}")


class CompactWriter:
    """Writes a gcma trace; use as a context. `about` goes into the header."""

    def __init__(self, path: Path, about: dict[str, Any] | None = None) -> None:
        self._file = path.open("wb")
        self._total = 0
        header = json.dumps({**(about or {}), "page_size": 4096}).encode()
        self._file.write(MAGIC + bytes([VERSION]) + HEADER.pack(len(header)) + header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.write(BLOCK_HEAD.pack(0, 0, self._total))
        self._file.close()

    def write(self, events: Rows) -> None:
        """Append events."""
        for begin in range(0, len(events), BLOCK):
            block = events[begin : begin + BLOCK]
            columns = []
            for column in range(COLUMNS):
                steps = np.diff(block[:, column], prepend=0)
                low, high = int(steps.min()), int(steps.max())
                code = next(
                    k
                    for k, kind in enumerate(TYPES)
                    if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max
                )
                columns.append(bytes([code]) + steps.astype(TYPES[code]).tobytes())
            data = zlib.compress(b"".join(columns), 1)
            self._file.write(BLOCK_HEAD.pack(len(data), zlib.crc32(data), len(block)) + data)
            self._total += len(block)
