"""libCacheSim's oracleGeneral: records of 24 bytes, for page-cache studies.

Each record is a request for an object: time in seconds (u32), object id (u64), size (u32), next access
(i64), little endian. An object counts as one page, whatever its size; the id's upper bits become the file,
the lower 52 the index.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from allocator.compiled import Rows
from allocator.steps import MAX_INDEX
from allocator.trace import BLOCK, COLUMNS, OP, READ, TIME, A, B, Trace

__all__ = ["RECORD", "OracleTrace", "plausible"]

RECORD: Final = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])


def plausible(sample: bytes) -> bool:
    """Whether the beginning of a file may be records of this form: their times do not go back."""
    found = np.frombuffer(sample, RECORD, len(sample) // RECORD.itemsize)
    return len(found) > 0 and bool(np.all(np.diff(found["time"].astype(np.int64)) >= 0))


class OracleTrace(Trace):
    """oracleGeneral, as libCacheSim reads and writes it."""

    form = "oracleGeneral"

    def _blocks(self) -> Iterator[Rows]:
        records = 0
        while data := self.stream.read(BLOCK * RECORD.itemsize):
            if len(data) % RECORD.itemsize:
                raise self.fail(
                    f"record {records + len(data) // RECORD.itemsize + 1}", "the file ends within it"
                )
            found = np.frombuffer(data, RECORD)
            records += len(found)
            block = np.zeros((len(found), COLUMNS), np.int64)
            block[:, TIME] = found["time"].astype(np.int64) * 1_000_000_000
            block[:, OP] = READ
            block[:, A], block[:, B] = np.divmod(found["id"], np.uint64(MAX_INDEX))
            yield block
