"""How large must an area be? One pass over a trace answers for all sizes at once.

Two questions, two methods:

*Will requests fail?* First fit places everything the same in every area that is large enough. So one run in
an endless area gives, by the highest page it ever uses, the smallest size in which no request of the trace
fails.

*What does the rest of the area save?* Ordinary memory and the pages that the area lends act as one LRU
list, whose miss ratio for every size follows from the *stack distance* of each read: how many other pages
were read since this one was (R. L. Mattson and others, "Evaluation techniques for storage hierarchies", IBM
Systems Journal 9, 1970), counted with a Fenwick tree in O(log n). It is an upper estimate of what
guaranteed CMA saves: pages that devices hold are not subtracted, and pages that were used but once are not
stored; `gcma replay` tells exactly, one size at a time.

Huge traces are sampled by page (C. A. Waldspurger and others, "Efficient MRC construction with SHARDS",
FAST 2015): a page counts when its hash falls below a threshold, distances are scaled up. The error is
estimated from the spread of eight disjoint parts of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from allocator.compiled import Ints, Longs, Rows, Words, compiled
from allocator.error import AllocatorError
from allocator.runs import Runs, clear, find, mark
from allocator.trace import ALLOC, FILL, FREE, OP, READ, TIME, A, B, C

__all__ = ["BIN_PAGES", "PARTS", "SizingError", "Study", "study"]

BIN_PAGES: Final = 256
"""Distances are counted in bins of 1 MiB."""
BINS: Final = 1 << 18
"""Up to 256 GiB; farther reads count as misses."""
PARTS: Final = 8
ENDLESS_PAGES: Final = 1 << 24
"""Size of the area in which nothing should fail: 64 GiB."""
LADDER: Final = tuple(BIN_PAGES * (2 << k // 2 if k % 2 == 0 else 3 << k // 2) for k in range(2, 26))
"""Sizes at which failures are counted: 4, 6, 8, 12, ... MiB."""
WINDOW_LEAST: Final = 1 << 16
PAGES_MAX: Final = 1 << 29
"""Rows of the table of pages, at most; half of them are used."""

# Columns of the table of pages: file, index, number of the last read, -1 in an empty row.
FILE: Final = 0
INDEX: Final = 1
LAST: Final = 2

# Slots of the counters of reads.
READS: Final = 0
SAMPLED: Final = 1
CLOCK: Final = 2
PAGES: Final = 3
CURSOR: Final = 4
COUNTERS: Final = 5

# Slots of the tally of an area.
REQUESTS: Final = 0
FAILED: Final = 1
FRAGMENTED: Final = 2
"""Failed with enough free pages."""
HELD: Final = 3
HELD_MOST: Final = 4
HIGHEST: Final = 5
TALLY: Final = 6


class SizingError(AllocatorError):
    """A study that makes no sense, or a trace that needs more than it can hold."""


@compiled
def _hash(file: int, index: int) -> int:
    """A 31-bit hash of a page; splits the sample and places pages in the table. No product reaches 2^63."""
    mixed = (index & 0xFFFFFFFF) * 0x61C88647 ^ (index >> 32) * 0x45D9F3B ^ file * 0x2545F491
    mixed = ((mixed ^ (mixed >> 31)) & 0xFFFFFFFF) * 0x2C1B3C6D
    mixed = ((mixed ^ (mixed >> 29)) & 0xFFFFFFFF) * 0x297A2D39
    return ((mixed ^ (mixed >> 32)) & 0xFFFFFFFF) >> 1


@compiled
def _add(sums: Ints, at: int, value: int) -> None:
    while at < len(sums):
        sums[at] += value
        at += at & -at


@compiled
def _below(sums: Ints, at: int) -> int:
    total = 0
    while at > 0:
        total += sums[at]
        at -= at & -at
    return total


@compiled(at_once=True)
def _distances(
    events: Rows, pages: Rows, sums: Ints, histogram: Rows, counters: Longs, threshold: int
) -> bool:
    """Count the reads of `events` from counters[CURSOR] on by stack distance; False when an array is full."""
    for k in range(counters[CURSOR], len(events)):
        op = events[k, OP]
        counters[CURSOR] = k
        if op != READ and op != FILL:
            continue
        file, index = int(events[k, A]), int(events[k, B])
        code = _hash(file, index)
        if code >= threshold:
            counters[READS] += 1
            continue
        # The upper bits decided about the sample, so the place comes from other ones.
        at = (code * 0x9E3779B1 >> 7) & (len(pages) - 1)
        while pages[at, LAST] >= 0 and (pages[at, INDEX] != index or pages[at, FILE] != file):
            at = (at + 1) & (len(pages) - 1)
        clock = counters[CLOCK] + 1
        if clock == len(sums):
            return False
        if pages[at, LAST] < 0:
            if 2 * counters[PAGES] >= len(pages):
                return False
            counters[PAGES] += 1
            histogram[code % PARTS, histogram.shape[1] - 1] += 1
            pages[at, FILE], pages[at, INDEX] = file, index
        else:
            before = int(pages[at, LAST])
            # All pages have one mark each, at their last read; those above `before` were read since.
            distance = counters[PAGES] - _below(sums, before)
            _add(sums, before, -1)
            scaled = int(distance * (0x80000000 / threshold)) // BIN_PAGES
            histogram[code % PARTS, min(scaled, histogram.shape[1] - 1)] += 1
        pages[at, LAST] = clock
        _add(sums, clock, 1)
        counters[CLOCK] = clock
        counters[READS] += 1
        counters[SAMPLED] += 1
    counters[CURSOR] = 0
    return True


@compiled(at_once=True)
def _requests(
    events: Rows, words: Words, tree: Ints, pages: int, base_pfn: int, buffers: Rows, tally: Longs
) -> None:
    """Apply the requests among `events` to an area that serves nobody else."""
    for k in range(len(events)):
        op, buffer = events[k, OP], int(events[k, A])
        if op == ALLOC and buffers[buffer, 1] == 0:
            want, mask = int(events[k, B]), (1 << int(events[k, C])) - 1
            tally[REQUESTS] += 1
            bit = find(words, tree, pages, want, mask, base_pfn & mask, 0)
            if bit < 0:
                tally[FAILED] += 1
                tally[FRAGMENTED] += pages - tally[HELD] >= want
                continue
            mark(words, tree, pages, bit, want)
            buffers[buffer, 0], buffers[buffer, 1] = bit, want
            tally[HELD] += want
            tally[HELD_MOST] = max(tally[HELD_MOST], tally[HELD])
            tally[HIGHEST] = max(tally[HIGHEST], bit + want)
        elif op == FREE and buffers[buffer, 1] != 0:
            clear(words, tree, pages, int(buffers[buffer, 0]), int(buffers[buffer, 1]))
            tally[HELD] -= buffers[buffer, 1]
            buffers[buffer, 1] = 0


@compiled
def _rehash(old: Rows, new: Rows) -> None:
    for k in range(len(old)):
        if old[k, LAST] >= 0:
            at = (_hash(int(old[k, FILE]), int(old[k, INDEX])) * 0x9E3779B1 >> 7) & (len(new) - 1)
            while new[at, LAST] >= 0:
                at = (at + 1) & (len(new) - 1)
            for column in range(3):
                new[at, column] = old[k, column]


class _Distances:
    """Stack distances of the reads of a trace."""

    def __init__(self, rate: float) -> None:
        self.threshold = max(1, round(rate * (1 << 31)))
        self.pages: Rows = np.full((1 << 12, 3), -1, np.int64)
        self.sums: Ints = np.zeros(WINDOW_LEAST, np.int32)
        self.histogram: Rows = np.zeros((PARTS, BINS + 1), np.int64)
        self.counters: Longs = np.zeros(COUNTERS, np.int64)

    def apply(self, events: Rows) -> None:
        while not _distances(events, self.pages, self.sums, self.histogram, self.counters, self.threshold):
            if 2 * self.counters[PAGES] >= len(self.pages):
                if len(self.pages) >= PAGES_MAX:
                    raise SizingError(f"more than {PAGES_MAX // 2} pages are read: sample with a lower rate")
                grown: Rows = np.full((2 * len(self.pages), 3), -1, np.int64)
                _rehash(self.pages, grown)
                self.pages = grown
            else:
                self._renumber()

    def _renumber(self) -> None:
        """Give the pages' last reads the numbers 1, 2, ... again."""
        used = np.flatnonzero(self.pages[:, LAST] >= 0)
        count = len(used)
        order = np.argsort(self.pages[used, LAST])
        self.pages[used[order], LAST] = np.arange(1, count + 1)
        at = np.arange(max(WINDOW_LEAST, 4 * count), dtype=np.int64)
        low = at & -at
        self.sums = np.clip(count - (at - low), 0, low).astype(np.int32)
        self.counters[CLOCK] = count


class _Area:
    """The requests of a trace in one area."""

    def __init__(self, pages: int, base_pfn: int) -> None:
        self.pages = pages
        self.base_pfn = base_pfn
        self.runs = Runs(pages)
        self.buffers: Rows = np.zeros((16, 2), np.int64)
        self.tally: Longs = np.zeros(TALLY, np.int64)

    def apply(self, events: Rows) -> None:
        highest = int(events[:, A].max(initial=0))
        if highest >= len(self.buffers):
            self.buffers = np.concatenate([self.buffers, np.zeros((2 * highest, 2), np.int64)])
        _requests(
            events, self.runs.words, self.runs.tree, self.pages, self.base_pfn, self.buffers, self.tally
        )


@dataclass(frozen=True, slots=True)
class Rung:
    """Requests in an area of one size: how many failed, and how many though enough was free."""

    pages: int
    failed: int
    fragmented: int


@dataclass(frozen=True, slots=True)
class Study:
    """What a trace tells about sizes.

    reads, pages     page reads, and how many different pages
    seconds          time that the trace spans
    rate             part of the pages that was sampled
    requests         requests for contiguous memory
    held_most        most pages held at once
    never_fails      smallest area in which no request fails; None when one fails in 64 GiB
    rungs            failures by size
    miss_ratio       for 0, 1, 2, ... MiB of memory, up to where nothing changes any more
    error            standard error of the miss ratio from sampling, the largest along the curve; 0 without
    sampling
    """

    reads: int
    pages: int
    seconds: float
    rate: float
    requests: int
    held_most: int
    never_fails: int | None
    rungs: tuple[Rung, ...]
    miss_ratio: tuple[float, ...]
    error: float

    def misses_at(self, pages: int) -> float:
        """The miss ratio with `pages` of memory."""
        return self.miss_ratio[min(pages // BIN_PAGES, len(self.miss_ratio) - 1)] if self.miss_ratio else 0.0


def study(
    blocks: Iterable[Rows],
    *,
    rate: float = 1.0,
    base_pfn: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Study:
    """Study a trace in one pass; `rate` is the part of the pages that is sampled, above 0 and up to 1.

    Raises SizingError, and TraceError from `blocks`.
    """
    if not 0 < rate <= 1:
        raise SizingError(f"a sampling rate of {rate:g} makes no sense: use a number above 0 and up to 1")
    distances = _Distances(rate)
    endless = _Area(ENDLESS_PAGES, base_pfn)
    ladder = [_Area(pages, base_pfn) for pages in LADDER]
    first = last = None
    done = 0
    for block in blocks:
        distances.apply(block)
        wanted = block[(block[:, OP] == ALLOC) | (block[:, OP] == FREE)]
        if len(wanted):
            for area in (endless, *ladder):
                area.apply(wanted)
        if len(block):
            first = int(block[0, TIME]) if first is None else first
            last = int(block[-1, TIME])
        done += len(block)
        if progress is not None:
            progress(done)
    ratios, error = _curve(distances, rate)
    tally = endless.tally
    return Study(
        reads=int(distances.counters[READS]),
        pages=round(int(distances.counters[PAGES]) / rate),
        seconds=((last or 0) - (first or 0)) / 1e9,
        rate=rate,
        requests=int(tally[REQUESTS]),
        held_most=int(tally[HELD_MOST]),
        never_fails=None if tally[FAILED] else int(tally[HIGHEST]),
        rungs=tuple(Rung(a.pages, int(a.tally[FAILED]), int(a.tally[FRAGMENTED])) for a in ladder),
        miss_ratio=tuple(ratios.tolist()),
        error=error,
    )


def _curve(distances: _Distances, rate: float) -> tuple[npt.NDArray[np.float64], float]:
    """The miss ratio by MiB, and its largest standard error."""
    histogram = distances.histogram
    reads = int(distances.counters[READS])
    if not reads:
        return np.zeros(0), 0.0
    hits = np.zeros(BINS + 1)
    hits[1:] = np.cumsum(histogram[:, :-1].sum(axis=0))
    end = int(np.searchsorted(hits, hits[-1])) + 1
    sampled = int(distances.counters[SAMPLED])
    if rate == 1.0:
        return 1 - hits[:end] / reads, 0.0
    # SHARDS-adj: what the sample has too much or too little of the expected reads is put down to the
    # nearest ones.
    adjusted = hits + (np.arange(BINS + 1) > 0) * (reads * rate - sampled)
    ratios = 1 - np.clip(adjusted / (reads * rate), 0, 1)
    ratios = np.minimum.accumulate(ratios)
    share = reads * rate / PARTS
    parts = (np.cumsum(histogram[:, : end - 1], axis=1) + (share - histogram.sum(axis=1))[:, None]) / share
    error = float(parts.std(axis=0, ddof=1).max(initial=0.0)) / math.sqrt(PARTS)
    return ratios[:end], error
