"""The steps of a replay: events of a trace applied to one allocator and the page cache around it.

The page cache is an LRU list over the frames of `allocator.frames`, moved by the same steps as the
cleancache: pool 0 is ordinary memory, pool 1 (CMA only) the area's pages that no device holds. So is the
list of recently evicted pages (*shadow*) that tells a refault from a first read. One loop serves the three
allocators:

CARVE_OUT    the area's pages serve devices only
GUARANTEED   free pages of the area are the cleancache's; an allocation takes them whatever they hold
CMA          free pages of the area serve the page cache and anonymous memory; an allocation drops the clean
file pages,
             migrates anonymous ones, and goes on to the next aligned place when one of them is pinned
             (mm/cma.c)
"""

from __future__ import annotations

import math
from typing import Final

from allocator.compiled import Ints, Longs, Rows, Table, Words, compiled
from allocator.frames import (
    LRU,
    OWNER,
    POOL0,
    POOL_LONGS,
    POOL_PFN,
    PREV,
    RECALLED,
    index_of,
    pfn_of,
    set_state,
)  # fmt: skip
from allocator.frames import TAKEN as TAKEN_STATE
from allocator.runs import clear, find, first_set, mark
from allocator.steps import give, invalidate, invalidate_range, load, pick_free, store, take
from allocator.trace import ALLOC, DROP, EVICT, FILL, FREE, OP, READ, A, B, C

__all__ = ["Store", "replay"]

Store = tuple[Table, Ints, Ints, Longs]
"""The four arrays of `allocator.frames`."""

CARVE_OUT: Final = 0
GUARANTEED: Final = 1
CMA: Final = 2

# Tallies of a lane.
READS: Final = 0
HITS: Final = 1
RESTORED: Final = 2
DISK: Final = 3
REFAULTS: Final = 4
EVICTED: Final = 5
STORED: Final = 6
REQUESTS: Final = 7
FAILED: Final = 8
PAGES_ASKED: Final = 9
DROPPED: Final = 10
MIGRATED: Final = 11
RETRIES: Final = 12
HELD: Final = 13
HELD_MOST: Final = 14
MODELLED_NS: Final = 15
SLOWEST_NS: Final = 16
TALLIES: Final = 17

# Costs, in nanoseconds; see `allocator.replay.CostTable`.
COST_REQUEST: Final = 0
COST_TAKE: Final = 1
COST_DROP: Final = 2
COST_MIGRATE: Final = 3
COST_BUSY: Final = 4
COST_CLAIM: Final = 5
COSTS: Final = 6

BUCKETS_PER_OCTAVE: Final = 16
BUCKETS: Final = 64 * BUCKETS_PER_OCTAVE

# What a page of a CMA area is used for besides the page cache.
MOVABLE: Final = 1
PINNED: Final = 2


@compiled
def _full(frames: Table, pools: int) -> bool:
    """Whether no pool has a free frame."""
    for pool in range(1, 1 + pools):  # noqa: SIM110  generators do not compile
        if frames[pool, PREV] != pool:
            return False
    return True


@compiled
def _evict(cache: Store, shadow: Store, clean: Store, used: Ints, guaranteed: bool, tallies: Longs) -> None:
    """Reclaim the page used longest ago: remember it, and offer it to the cleancache."""
    frames = cache[0]
    row = int(frames[LRU, PREV])
    file, index = int(frames[row, OWNER]), index_of(frames, row)
    again = used[pfn_of(frames, cache[3], row)] != 0
    invalidate(*cache, file, index)
    tallies[EVICTED] += 1
    store(*shadow, file, index, True)
    if guaranteed and store(*clean, file, index, again) >= 0:
        tallies[STORED] += 1


@compiled
def _read(
    cache: Store,
    shadow: Store,
    clean: Store,
    used: Ints,
    pools: int,
    guaranteed: bool,
    tallies: Longs,
    file: int,
    index: int,
) -> None:
    """The program reads a page."""
    tallies[READS] += 1
    pfn = load(*cache, file, index)
    if pfn >= 0:
        used[pfn] = 1
        tallies[HITS] += 1
        return
    refault = invalidate(*shadow, file, index) != 0
    tallies[REFAULTS] += refault
    if guaranteed and load(*clean, file, index) >= 0:
        tallies[RESTORED] += 1
    else:
        tallies[DISK] += 1
    if _full(cache[0], pools):
        if cache[0][LRU, PREV] == LRU:
            return
        _evict(cache, shadow, clean, used, guaranteed, tallies)
    used[store(*cache, file, index, True)] = refault


@compiled
def _drop(store_: Store, file: int, index: int, count: int) -> None:
    """Pages of a file end."""
    last = index + count - 1 if count else (1 << 52) - 1
    invalidate_range(*store_, file, index, last)


@compiled
def _claim_movable(
    cache: Store,
    shadow: Store,
    clean: Store,
    used: Ints,
    anon: Ints,
    base: int,
    bit: int,
    want: int,
    tallies: Longs,
) -> int:
    """Empty pages [bit, bit + want) of a CMA area, none of them pinned; how many had to be migrated."""
    frames, _table, _inodes, counts = cache
    moving = 0
    for page in range(bit, bit + want):
        if anon[page] == MOVABLE:
            moving += 1
            anon[page] = 0
        else:
            take(*cache, 1, base + page, 1)
    for _ in range(moving):
        if _full(frames, 2):
            _evict(cache, shadow, clean, used, False, tallies)
        row = pick_free(frames, counts)
        set_state(frames, row, TAKEN_STATE)
        pfn = pfn_of(frames, counts, row)
        if pfn >= base:
            anon[pfn - base] = MOVABLE
    return moving


@compiled
def _allocate(
    kind: int, words: Words, tree: Ints, pages: int, base_pfn: int, cache: Store, shadow: Store, clean: Store,
    used: Ints, anon: Ints, pinned: Words, want: int, align: int, costs: Longs, tallies: Longs,
) -> tuple[int, int]:  # fmt: skip
    """`cma_alloc`: the first page, or -1 without one, and the time that it would take in nanoseconds."""
    mask = (1 << align) - 1
    base = int(cache[3][POOL0 + POOL_LONGS + POOL_PFN])
    time = int(costs[COST_REQUEST])
    start = 0
    while want <= pages:
        bit = find(words, tree, pages, want, mask, base_pfn & mask, start)
        if bit < 0:
            break
        if kind == CMA and first_set(pinned, bit, bit + want) < bit + want:
            tallies[RETRIES] += 1
            time += costs[COST_BUSY] * want
            start = bit + mask + 1
            continue
        mark(words, tree, pages, bit, want)
        if kind == GUARANTEED:
            before = clean[3][RECALLED]
            if take(*clean, 0, bit, want) != 0:
                # A frame that the cleancache has lost (H5 of v2): the kernel gives up.
                clear(words, tree, pages, bit, want)
                break
            dropped = clean[3][RECALLED] - before
            time += costs[COST_TAKE] * want + costs[COST_DROP] * dropped
            tallies[DROPPED] += dropped
        elif kind == CMA:
            before = cache[3][RECALLED]
            moved = _claim_movable(cache, shadow, clean, used, anon, base, bit, want, tallies)
            dropped = cache[3][RECALLED] - before
            time += costs[COST_CLAIM] * want + costs[COST_DROP] * dropped + costs[COST_MIGRATE] * moved
            tallies[DROPPED] += dropped
            tallies[MIGRATED] += moved
        return bit, time
    return -1, time


@compiled(at_once=True)
def replay(
    kind: int, events: Rows, words: Words, tree: Ints, pages: int, base_pfn: int, cache: Store, shadow: Store,
    clean: Store, used: Ints, anon: Ints, pinned: Words, buffers: Rows, costs: Longs, tallies: Longs,
    histogram: Longs,
) -> None:  # fmt: skip
    """Apply a block of events to one allocator.

    `buffers` has a row for each buffer number: its first page and its pages, 0 when it is not held.
    `histogram` counts requests by modelled time, `BUCKETS_PER_OCTAVE` buckets to a factor of two.
    """
    guaranteed = kind == GUARANTEED
    pools = 2 if kind == CMA else 1
    base = int(cache[3][POOL0 + POOL_LONGS + POOL_PFN])
    for k in range(len(events)):
        op, a, b, c = int(events[k, OP]), int(events[k, A]), int(events[k, B]), int(events[k, C])
        if op == READ:
            _read(cache, shadow, clean, used, pools, guaranteed, tallies, a, b)
        elif op == FILL:
            tallies[READS] += 1
            if guaranteed and load(*clean, a, b) >= 0:
                tallies[RESTORED] += 1
            else:
                tallies[DISK] += 1
            tallies[REFAULTS] += invalidate(*shadow, a, b)
        elif op == EVICT:
            tallies[EVICTED] += 1
            store(*shadow, a, b, True)
            if guaranteed and store(*clean, a, b, True) >= 0:
                tallies[STORED] += 1
        elif op == DROP:
            _drop(cache, a, b, c)
            _drop(shadow, a, b, c)
            if guaranteed:
                _drop(clean, a, b, c)
        elif op == ALLOC and buffers[a, 1] == 0:
            tallies[REQUESTS] += 1
            tallies[PAGES_ASKED] += b
            bit, time = _allocate(
                kind,
                words,
                tree,
                pages,
                base_pfn,
                cache,
                shadow,
                clean,
                used,
                anon,
                pinned,
                b,
                c,
                costs,
                tallies,
            )
            tallies[MODELLED_NS] += time
            tallies[SLOWEST_NS] = max(tallies[SLOWEST_NS], time)
            histogram[int(math.log2(max(time, 1)) * BUCKETS_PER_OCTAVE)] += 1
            if bit < 0:
                tallies[FAILED] += 1
                continue
            buffers[a, 0], buffers[a, 1] = bit, b
            tallies[HELD] += b
            tallies[HELD_MOST] = max(tallies[HELD_MOST], tallies[HELD])
        elif op == FREE and buffers[a, 1] != 0:
            bit, count = int(buffers[a, 0]), int(buffers[a, 1])
            buffers[a, 1] = 0
            clear(words, tree, pages, bit, count)
            tallies[HELD] -= count
            if guaranteed:
                give(clean[0], clean[3], 0, bit, count, False)
            elif kind == CMA:
                give(cache[0], cache[3], 1, base + bit, count, False)
