"""Traces as ftrace, trace-cmd and `perf script` print them: one event a line.

Used are `cma:*` and `filemap:*` events; the fields are those of include/trace/events/cma.h and filemap.h,
from Linux 4.x (`cma_alloc`) to 7.x (`cma_alloc_finish`). A request that failed in the recording is a
request all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from allocator.compiled import Rows
from allocator.trace import (
    ALIGN_MAX,
    ALLOC,
    BLOCK,
    EVICT,
    FILL,
    FREE,
    INDEX_MAX,
    PAGES_MAX,
    Numbers,
    Trace,
    rows,
)

__all__ = ["TextTrace"]

LINE: Final = re.compile(rb"[\s\]](\d+)\.(\d{1,9}): (?:\w+:)?(\w+): (.*)")
FILEMAP: Final = re.compile(rb"dev (\d+):(\d+) ino (?:0x)?([0-9a-f]+) .*?\bofs=(\d+)(?:.*?\border=(\d+))?")
FIELD: Final = re.compile(rb"(\w+)=(\S+)")
PAGE_SHIFT: Final = 12
LINE_MAX: Final = 1 << 16
REPEATED: Final = (b"cma_alloc_start", b"cma_alloc_busy_retry")
"""Parts of a request that its last event tells about."""


class TextTrace(Trace):
    """ftrace, trace-cmd report and perf script text.

    area   name of the area whose requests count, None for all
    """

    form = "ftrace"
    area: str | None = None

    def _blocks(self) -> Iterator[Rows]:
        self._files = Numbers()
        self._buffers = Numbers()
        self._failed = 0
        events: list[tuple[int, int, int, int, int]] = []
        number = 0
        while line := self.stream.readline(LINE_MAX):
            number += 1
            match = LINE.search(line)
            if match is None:
                if len(line) == LINE_MAX:
                    raise self.fail(
                        f"line {number}", f"longer than {LINE_MAX} bytes: expected one event a line"
                    )
                kind = (
                    "comments"
                    if line.lstrip().startswith(b"#") or not line.strip()
                    else "lines that are no event"
                )
                self.skipped[kind] += 1
                continue
            seconds, fraction, name, rest = match.groups()
            time = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, b"0"))
            try:
                self._event(events, time, name, rest)
            except (KeyError, ValueError, AttributeError) as error:
                raise self.fail(
                    f"line {number}", f"{name.decode('ascii', 'replace')} lacks or garbles a field ({error})"
                ) from error
            if len(events) >= BLOCK - 512:
                yield rows(events)
                events = []
        if events:
            yield rows(events)
        if not self._used and number:
            raise self.fail(
                f"{number} lines", "no event of cma or filemap is among them: record with -e cma -e filemap"
            )

    _used = 0

    def _event(
        self, events: list[tuple[int, int, int, int, int]], time: int, name: bytes, rest: bytes
    ) -> None:
        if name in (b"mm_filemap_add_to_page_cache", b"mm_filemap_delete_from_page_cache"):
            major, minor, inode, offset, order = FILEMAP.match(rest).groups()  # type: ignore[union-attr]
            file = self._files.of((int(major), int(minor), int(inode, 16)))
            index = int(offset) >> PAGE_SHIFT
            count = 1 << int(order or 0)
            if index + count > INDEX_MAX or count > 512:
                raise ValueError(f"ofs={int(offset)} order={int(order or 0)} is out of range")
            op = FILL if name == b"mm_filemap_add_to_page_cache" else EVICT
            events += [(time, op, file, index + each, 0) for each in range(count)]
        elif name in (b"cma_alloc_finish", b"cma_alloc", b"cma_release"):
            fields = dict(FIELD.findall(rest))
            area = fields.get(b"name", b"").decode("ascii", "replace")
            if self.area is not None and area != self.area:
                self.skipped[f"requests to area {area or '(unnamed)'}"] += 1
                return
            pfn, count = int(fields[b"pfn"], 16), int(fields[b"count"])
            if not 0 < count <= PAGES_MAX:
                raise ValueError(f"count={count} is out of range")
            if name == b"cma_release":
                buffer = self._buffers.give_up((area, pfn, count))
                if buffer is None:
                    self.skipped["releases of buffers allocated before the trace began"] += 1
                    return
                events.append((time, FREE, buffer, 0, 0))
            else:
                align = int(fields[b"align"])
                if not 0 <= align <= ALIGN_MAX:
                    raise ValueError(f"align={align} is out of range")
                failed = int(fields.get(b"errorno", b"0")) != 0 or not pfn
                self._failed += failed
                key = (area, -self._failed, count) if failed else (area, pfn, count)
                buffer = self._buffers.of(key)
                events.append((time, ALLOC, buffer, count, align))
                if failed:
                    # The recording's caller went without: here the buffer is taken and given back at once.
                    self._buffers.give_up(key)
                    events.append((time, FREE, buffer, 0, 0))
        elif name in REPEATED:
            return
        else:
            self.skipped[f"events {name.decode('ascii', 'replace')}"] += 1
            return
        self._used += 1
