"""Traces as ftrace, trace-cmd and `perf script` print them: one event a line.

Replayed are `cma:*` and `filemap:*` events; the fields are those of include/trace/events/cma.h and
filemap.h, from Linux 4.x (`cma_alloc`) to 7.x (`cma_alloc_finish`). A request that failed in the recording
is a request all the same. What `vmscan:*` tells of the recorded kernel becomes a :class:`Recording`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from allocator.compiled import Rows
from allocator.recording import EVENTS, Recording, number
from allocator.steps import MAX_INDEX
from allocator.trace import (
    ALIGN_MAX,
    ALLOC,
    BLOCK,
    EVICT,
    FILL,
    FREE,
    PAGES_MAX,
    TIME_MAX,
    Numbers,
    Trace,
    TraceError,
    rows,
)

__all__ = ["TextTrace"]

TIMESTAMP: Final = re.compile(rb"(\d{1,10})\.(\d{1,9})")
FIELD: Final = re.compile(rb"(\w+)=(\S+)")
PAGE_SHIFT: Final = 12
LINE_MAX: Final = 1 << 16
REPEATED: Final = b"cma_alloc_busy_retry"
"""A part of a request that its last event tells about."""


class TextTrace(Trace):
    """ftrace, trace-cmd report and perf script text.

    area        name of the area whose requests count, None for all
    recording   what the recording tells of its own kernel, complete when all blocks are read
    """

    form = "ftrace"
    area: str | None = None

    def __init__(self, path: Path, stream: BinaryIO, raw: BinaryIO) -> None:
        super().__init__(path, stream, raw)
        self.recording = Recording()

    def _blocks(self) -> Iterator[Rows]:
        self._files = Numbers()
        self._buffers = Numbers()
        self._failed = 0
        self._others: set[str] = set()
        events: list[tuple[int, int, int, int, int]] = []
        number = 0
        while line := self.stream.readline(LINE_MAX):
            number += 1
            # "  comm-pid [cpu] flags seconds.fraction: [group:]event: fields"
            head, _, tail = line.partition(b": ")
            stamp = TIMESTAMP.fullmatch(head[head.rfind(b" ") + 1 :])
            name, _, rest = tail.partition(b": ")
            if stamp is None or not rest:
                if len(line) == LINE_MAX:
                    raise self.fail(
                        f"line {number}", f"longer than {LINE_MAX} bytes: expected one event a line"
                    )
                comment = line.lstrip().startswith(b"#") or not line.strip()
                self.skipped["comments" if comment else "lines that are no event"] += 1
                continue
            seconds, fraction = stamp.groups()
            time = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, b"0"))
            name = name[name.rfind(b":") + 1 :]
            try:
                if time > TIME_MAX:
                    raise ValueError(f"the time {stamp[0].decode()} is out of range")
                self._event(events, head, time, name, rest)
            except KeyError as error:
                raise self._garbled(number, name, f"{error.args[0].decode()} is missing") from error
            except ValueError as error:
                raise self._garbled(number, name, str(error)) from error
            if len(events) >= BLOCK - 512:
                yield rows(events)
                events = []
        if events:
            yield rows(events)
        if not self._used and self._others:
            known = ", ".join(sorted(self._others))
            raise self.fail(
                f"{number} lines", f"no request to area {self.area} is among them, only to {known}"
            )
        if not self._used and number:
            raise self.fail(
                f"{number} lines", "no event of cma or filemap is among them: record with -e cma -e filemap"
            )

    _used = 0

    def _event(
        self, events: list[tuple[int, int, int, int, int]], head: bytes, time: int, name: bytes, rest: bytes
    ) -> None:
        if name in (b"mm_filemap_add_to_page_cache", b"mm_filemap_delete_from_page_cache"):
            file, index, count = self._folio(rest.split(None, 4))
            op = FILL if name == b"mm_filemap_add_to_page_cache" else EVICT
            events += [(time, op, file, index + each, 0) for each in range(count)]
        elif name in (b"cma_alloc_finish", b"cma_alloc", b"cma_release"):
            fields = dict(FIELD.findall(rest))
            area = fields.get(b"name", b"").decode("ascii", "replace")
            if self.area is not None and area != self.area:
                self._others.add(area or "(unnamed)")
                self.skipped[f"requests to area {area or '(unnamed)'}"] += 1
                return
            pfn, count = number(fields, b"pfn", 16), number(fields, b"count")
            if not 0 < count <= PAGES_MAX:
                raise ValueError(f"count={count} is out of range")
            if name == b"cma_release":
                buffer = self._buffers.give_up((area, pfn, count))
                if buffer is None:
                    self.skipped["releases of buffers allocated before the trace began"] += 1
                    return
                events.append((time, FREE, buffer, 0, 0))
            else:
                self.recording.cma_alloc.end(_task(head), time)
                align = number(fields, b"align")
                if not 0 <= align <= ALIGN_MAX:
                    raise ValueError(f"align={align} is out of range")
                failed = not pfn or (b"errorno" in fields and number(fields, b"errorno") != 0)
                self._failed += failed
                key = (area, -self._failed, count) if failed else (area, pfn, count)
                buffer = self._buffers.of(key)
                events.append((time, ALLOC, buffer, count, align))
                if failed:
                    # The recording's caller went without: here the buffer is taken and given back at once.
                    self._buffers.give_up(key)
                    events.append((time, FREE, buffer, 0, 0))
        elif name in EVENTS:
            fields = dict(FIELD.findall(rest))
            if self.area is None or fields.get(b"name", self.area.encode()) == self.area.encode():
                self.recording.note(_task(head), time, name, fields)
            return
        elif name == REPEATED:
            return
        else:
            self.skipped[f"events {name.decode('ascii', 'replace')}"] += 1
            return
        self._used += 1

    def _folio(self, words: list[bytes]) -> tuple[int, int, int]:
        """File, first index and pages of "dev 7:0 ino c ... ofs=8192 order=1"."""
        if len(words) < 5 or words[0] != b"dev" or words[2] != b"ino":
            raise KeyError(b"dev or ino")
        fields = dict(FIELD.findall(words[4]))
        offset = number(fields, b"ofs")
        order = number(fields, b"order") if b"order" in fields else 0
        index, count = offset >> PAGE_SHIFT, 1 << order if 0 <= order < 10 else 0
        if not 0 <= index <= MAX_INDEX - count or not count:
            raise ValueError(f"ofs={offset} order={order} is out of range")
        return self._files.of((words[1], words[3])), index, count

    def _garbled(self, number: int, name: bytes, why: str) -> TraceError:
        return self.fail(f"line {number}", f"{name.decode('ascii', 'replace')} cannot be used: {why}")


def _task(head: bytes) -> bytes:
    """Command and number of the task: what stands before the "[cpu]"."""
    return head.rpartition(b" [")[0].strip()
