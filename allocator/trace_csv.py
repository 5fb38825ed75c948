"""Page-cache traces as CSV, with a header.

Columns, in any order: `time` in seconds and `op`, r or w (both optional), and either `id` (also `obj_id`,
`object`), or `file` and `index`. Further columns are left out. Ids and files may be any text.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from allocator.compiled import Rows
from allocator.steps import MAX_INDEX
from allocator.trace import BLOCK, READ, WRITE, Numbers, Trace, TraceError, rows

__all__ = ["CsvTrace"]

LINE_MAX = 1 << 16
SECONDS_MAX = 1 << 32
IDS = ("id", "obj_id", "object")
OPS = {"r": READ, "read": READ, "w": WRITE, "write": WRITE}


class CsvTrace(Trace):
    """CSV with a header line."""

    form = "csv"

    def _blocks(self) -> Iterator[Rows]:
        reader = csv.reader(line.decode() for line in iter(lambda: self.stream.readline(LINE_MAX), b""))
        try:
            header = [name.strip().lower() for name in next(reader)]
            wanted = next((name for name in IDS if name in header), None)
            if wanted is None and not {"file", "index"} <= set(header):
                raise self.fail(
                    "line 1", f"the header names {', '.join(header)}: expected id, or file and index"
                )
            at = {
                name: header.index(name)
                for name in (wanted, "time", "op", "file", "index")
                if name in header and name
            }
            objects = Numbers()
            events: list[tuple[int, int, int, int, int]] = []
            for row in reader:
                if not row:
                    continue
                if len(row) < len(header):
                    raise ValueError(f"it has {len(row)} of the header's {len(header)} columns")
                events.append(self._event(row, at, wanted, objects))
                if len(events) == BLOCK:
                    yield rows(events)
                    events = []
            if events:
                yield rows(events)
        except TraceError:
            raise
        except (csv.Error, ValueError, StopIteration) as error:
            raise self.fail(f"line {reader.line_num}", f"cannot be used: {error}") from error

    @staticmethod
    def _event(
        row: list[str], at: dict[str, int], wanted: str | None, objects: Numbers
    ) -> tuple[int, int, int, int, int]:
        time = int(_seconds(row[at["time"]]) * 1e9) if "time" in at else 0
        op = _op(row[at["op"]]) if "op" in at else READ
        if wanted is not None:
            return (time, op, 0, objects.of(row[at[wanted]]), 0)
        index = row[at["index"]].strip()
        if not index.isdecimal() or not int(index[:20]) < MAX_INDEX or len(index) > 20:
            raise ValueError(f"index {index[:40]!r} is no number below {MAX_INDEX}")
        return (time, op, objects.of(row[at["file"]]), int(index), 0)


def _op(text: str) -> int:
    op = OPS.get(text.strip().lower())
    if op is None:
        raise ValueError(f"op {text[:40]!r} is neither r nor w")
    return op


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < SECONDS_MAX:
        raise ValueError(f"time {text[:40]!r} is no number of seconds below {SECONDS_MAX}")
    return seconds
