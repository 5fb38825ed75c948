"""What a recording tells beside the events that are replayed: how long the recorded kernel took.

Facts, not a model: the time between `cma_alloc_start` and `cma_alloc_finish`, the time that allocations
spent in direct reclaim, and how many pages reclaim scanned and freed. The fields are those of
include/trace/events/cma.h and vmscan.h, which have had these names since Linux 3.x (`cma_alloc_start`:
5.13).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["EVENTS", "Recording", "Spans", "number"]

STALLS: Final = (b"mm_vmscan_direct_reclaim_", b"mm_vmscan_memcg_reclaim_")
"""An allocation waits between their begin and end: memory is short, or a group is at its limit."""
SHRINK: Final = b"mm_vmscan_lru_shrink_inactive"
WAKE: Final = b"mm_vmscan_kswapd_wake"
EVENTS: Final = frozenset(
    (*(each + part for each in STALLS for part in (b"begin", b"end")), b"cma_alloc_start", SHRINK, WAKE)
)
TASKS_MAX: Final = 1 << 16
"""Tasks whose beginning is kept; beyond these, recordings have lost events and pairs mean nothing."""


@dataclass(slots=True)
class Spans:
    """Times from a begin to the same task's next end.

    count        whole pairs
    total_ns     their sum
    longest_ns   the longest
    """

    count: int = 0
    total_ns: int = 0
    longest_ns: int = 0
    _begun: dict[bytes, int] = field(default_factory=dict, repr=False)

    def begin(self, task: bytes, time: int) -> None:
        """The task begins; a begin whose end was lost is forgotten."""
        if len(self._begun) >= TASKS_MAX:
            self._begun.clear()
        self._begun[task] = time

    def end(self, task: bytes, time: int) -> None:
        """The task ends; nothing is known when its begin was not recorded."""
        begun = self._begun.pop(task, None)
        if begun is not None and time >= begun:
            self.count += 1
            self.total_ns += time - begun
            self.longest_ns = max(self.longest_ns, time - begun)

    def as_json(self) -> dict[str, int]:
        """Plain data."""
        return {"count": self.count, "total_ns": self.total_ns, "longest_ns": self.longest_ns}


@dataclass(slots=True)
class Recording:
    """The facts.

    cma_alloc        calls of `cma_alloc`
    direct_reclaim   allocations that had to reclaim pages themselves
    scanned          pages that reclaim looked at on the inactive lists
    file, anonymous  pages that it freed
    kswapd_wakes     how often kswapd woke up
    """

    cma_alloc: Spans = field(default_factory=Spans)
    direct_reclaim: Spans = field(default_factory=Spans)
    scanned: int = 0
    file: int = 0
    anonymous: int = 0
    kswapd_wakes: int = 0

    def note(self, task: bytes, time: int, name: bytes, fields: dict[bytes, bytes]) -> None:
        """Take in one of :data:`EVENTS`.

        :raise KeyError: a field is missing
        :raise ValueError: a field is no number
        """
        if name == b"cma_alloc_start":
            self.cma_alloc.begin(task, time)
        elif name == SHRINK:
            self.scanned += number(fields, b"nr_scanned")
            if b"RECLAIM_WB_FILE" in fields[b"flags"]:
                self.file += number(fields, b"nr_reclaimed")
            else:
                self.anonymous += number(fields, b"nr_reclaimed")
        elif name == WAKE:
            self.kswapd_wakes += 1
        elif name.endswith(b"begin"):
            self.direct_reclaim.begin(task, time)
        else:
            self.direct_reclaim.end(task, time)

    def as_json(self) -> dict[str, Any]:
        """Plain data; times in ns, the rest in pages and calls."""
        return {
            "cma_alloc": self.cma_alloc.as_json(),
            "direct_reclaim": self.direct_reclaim.as_json(),
            "pages_scanned": self.scanned,
            "file_pages_reclaimed": self.file,
            "anonymous_pages_reclaimed": self.anonymous,
            "kswapd_wakes": self.kswapd_wakes,
        }


def number(fields: dict[bytes, bytes], name: bytes, base: int = 10) -> int:
    """The number in a field of an event.

    :raise KeyError: the field is missing
    :raise ValueError: it is no number
    """
    text = fields[name]
    try:
        return int(text, base)
    except ValueError:
        shown = f"{name.decode()}={text[:40].decode('ascii', 'replace')}"
        raise ValueError(f"{shown} is no number") from None
