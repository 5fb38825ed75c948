"""The steps of a replay: events of a trace applied to one allocator and the page cache around it.

The page cache is an LRU list over the frames of `allocator.frames`, moved by the same steps as the
cleancache: pool 0 is ordinary memory, pool 1 (CMA only) the area's pages that no device holds. So is the
list of recently evicted pages (*shadow*) that tells a refault from a first read. One loop serves the three
allocators:

CARVE_OUT    the area's pages serve devices only
GUARANTEED   free pages of the area are the cleancache's; an allocation takes them whatever they hold
CMA          free pages of the area serve the page cache and anonymous memory; an allocation claims them by
             the steps of `allocator.cma_steps`: it drops file pages, migrates anonymous ones, and goes on to
             the next aligned place when one of them is pinned
"""

from __future__ import annotations

import math
from typing import Final

from allocator.cma_steps import (
    ANONYMOUS,
    CLEAN_FILE,
    COUNT,
    EBUSY,
    HELD,
    NOBODY,
    PAGES,
    conclude,
    isolate,
    vacate,
)  # fmt: skip
from allocator.compiled import Bytes, Ints, Longs, Rows, Table, Words, compiled
from allocator.costs import DROPPED, ISOLATED, REQUESTS, modelled_ns
from allocator.frames import (
    CACHED,
    LRU,
    OWNER,
    POOL0,
    POOL_LONGS,
    POOL_PFN,
    POOL_ROW,
    POOL_SIZE,
    PREV,
    RECALLED,
    index_of,
    pfn_of,
    pool_of,
    set_state,
    state_of,
)  # fmt: skip
from allocator.frames import FREE as FREE_STATE
from allocator.frames import TAKEN as TAKEN_STATE
from allocator.runs import clear, find, mark
from allocator.steps import (
    enter,
    give,
    hit,
    invalidate,
    invalidate_range,
    invalidate_row,
    load,
    oldest,
    pick_free,
    store,
    take,
)  # fmt: skip
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
FAILED: Final = 7
LENT: Final = 8
LENT_MOST: Final = 9
SLOWEST_NS: Final = 10
TALLIES: Final = 11

BUCKETS_PER_OCTAVE: Final = 16
BUCKETS: Final = 64 * BUCKETS_PER_OCTAVE


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
    row = oldest(frames)
    file, index = int(frames[row, OWNER]), index_of(frames, row)
    again = used[row] != 0
    invalidate_row(*cache, row)
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
    row = hit(*cache, file, index)
    if row != 0:
        used[row] = 1
        tallies[HITS] += 1
        return
    refault = invalidate(*shadow, file, index) != 0
    tallies[REFAULTS] += refault
    if guaranteed and load(*clean, file, index) >= 0:
        tallies[RESTORED] += 1
    else:
        tallies[DISK] += 1
    if _full(cache[0], pools):
        if oldest(cache[0]) == LRU:
            return
        _evict(cache, shadow, clean, used, guaranteed, tallies)
    used[enter(*cache, file, index)] = refault


@compiled
def _drop(store_: Store, file: int, index: int, count: int) -> None:
    """Pages of a file end."""
    last = index + count - 1 if count else (1 << 52) - 1
    invalidate_range(*store_, file, index, last)


@compiled
def _move(
    cache: Store, shadow: Store, clean: Store, used: Ints, tenants: Bytes, base: int, bit: int, stop: int,
    tallies: Longs,
) -> None:  # fmt: skip
    """Find an anonymous page of [bit, stop) of a CMA area another place, which may be in the area, too.

    There always is one: anonymous pages are at most half of the ordinary memory.
    """
    frames, _table, _inodes, counts = cache
    while True:
        row = pick_free(frames, counts)
        if row == 0:
            _evict(cache, shadow, clean, used, False, tallies)
            continue
        set_state(frames, row, TAKEN_STATE)
        counts[pool_of(frames, row) + POOL_SIZE] -= 1
        page = pfn_of(frames, counts, row) - base
        if bit <= page < stop:
            # Reclaimed just now, and isolated as the whole range is.
            tenants[page] = NOBODY
            continue
        if page >= 0:
            tenants[page] = ANONYMOUS
        return


@compiled
def _claim(
    cache: Store, shadow: Store, clean: Store, used: Ints, tenants: Bytes, claim: Longs, base: int, bit: int,
    want: int, events: Longs, tallies: Longs,
) -> int:  # fmt: skip
    """Empty pages [bit, bit + want) of a CMA area; 0, or EBUSY when one is pinned.

    Between claims `tenants` knows anonymous pages only. The page cache's are entered here, and none of them
    is pinned, so none is left when the claim ends.
    """
    frames, counts = cache[0], cache[3]
    stop = bit + want
    first = int(counts[POOL0 + POOL_LONGS + POOL_ROW])
    for page in range(bit, stop):
        state = state_of(frames, first + page)
        if state == FREE_STATE:
            take(*cache, 1, base + page, 1)
        elif state == CACHED:
            tenants[page] = CLEAN_FILE
    claim[HELD] = 0
    page = bit
    while page < stop:
        page = isolate(tenants, page, stop, claim)
        count = int(claim[COUNT])
        for k in range(count):
            each = int(claim[PAGES + k])
            if tenants[each] == CLEAN_FILE:
                # Dropped by reclaim (reclaim_clean_pages_from_list), which leaves a shadow.
                row = first + each
                store(*shadow, int(frames[row, OWNER]), index_of(frames, row), True)
                take(*cache, 1, base + each, 1)
            elif tenants[each] == ANONYMOUS:
                _move(cache, shadow, clean, used, tenants, base, bit, stop, tallies)
        vacate(tenants, claim, count, events)
    failure = conclude(claim, want, events)
    if failure:
        for page in range(bit, stop):
            if tenants[page] == NOBODY:
                give(frames, counts, 1, base + page, 1, False)
    return failure


@compiled
def _allocate(
    kind: int, words: Words, tree: Ints, pages: int, base_pfn: int, cache: Store, shadow: Store, clean: Store,
    used: Ints, tenants: Bytes, claim: Longs, want: int, align: int, events: Longs, tallies: Longs,
) -> int:  # fmt: skip
    """`cma_alloc`: the first page, or -1 without one."""
    mask = (1 << align) - 1
    base = int(cache[3][POOL0 + POOL_LONGS + POOL_PFN])
    events[REQUESTS] += 1
    start = 0
    while want <= pages:
        bit = find(words, tree, pages, want, mask, base_pfn & mask, start)
        if bit < 0:
            break
        mark(words, tree, pages, bit, want)
        failure = 0
        if kind == CMA:
            failure = _claim(cache, shadow, clean, used, tenants, claim, base, bit, want, events, tallies)
        else:
            if kind == GUARANTEED:
                before = clean[3][RECALLED]
                # Fails on a frame that the cleancache has lost (H5 of v2).
                failure = -take(*clean, 0, bit, want)
                events[DROPPED] += clean[3][RECALLED] - before
            if failure == 0:
                events[ISOLATED] += want
        if failure == 0:
            return bit
        clear(words, tree, pages, bit, want)
        if failure != EBUSY:
            break
        start = bit + mask + 1
    return -1


@compiled(at_once=True)
def replay(
    kind: int, events: Rows, words: Words, tree: Ints, pages: int, base_pfn: int, cache: Store, shadow: Store,
    clean: Store, used: Ints, tenants: Bytes, claim: Longs, buffers: Rows, prices: Longs, happened: Longs,
    tallies: Longs, histogram: Longs,
) -> None:  # fmt: skip
    """Apply a block of events to one allocator.

    `happened` counts what requests did, as `allocator.costs.CmaEvents` does, and `prices` says what it costs.
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
            before = modelled_ns(prices, happened)
            bit = _allocate(
                kind, words, tree, pages, base_pfn, cache, shadow, clean, used, tenants, claim, b, c,
                happened, tallies,
            )  # fmt: skip
            time = modelled_ns(prices, happened) - before
            tallies[SLOWEST_NS] = max(tallies[SLOWEST_NS], time)
            histogram[int(math.log2(max(time, 1)) * BUCKETS_PER_OCTAVE)] += 1
            if bit < 0:
                tallies[FAILED] += 1
                continue
            buffers[a, 0], buffers[a, 1] = bit, b
            tallies[LENT] += b
            tallies[LENT_MOST] = max(tallies[LENT_MOST], tallies[LENT])
        elif op == FREE and buffers[a, 1] != 0:
            bit, count = int(buffers[a, 0]), int(buffers[a, 1])
            buffers[a, 1] = 0
            clear(words, tree, pages, bit, count)
            tallies[LENT] -= count
            if guaranteed:
                give(clean[0], clean[3], 0, bit, count, False)
            elif kind == CMA:
                give(cache[0], cache[3], 1, base + bit, count, False)
