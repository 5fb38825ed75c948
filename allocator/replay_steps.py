"""The steps of a replay: events of a trace applied to one allocator and the page cache around it.

One loop serves the three allocators:

CARVE_OUT    the area's pages serve devices only
GUARANTEED   free pages of the area are the cleancache's; an allocation takes them whatever they hold
CMA          free pages of the area serve the page cache and anonymous memory; an allocation claims them by
             the steps of `allocator.cma_steps`: it drops file pages, migrates anonymous ones, and goes on to
             the next aligned place when one of them is pinned

CMA copies a dirty page as it is, and waits for one under writeback (mm/migrate.c `migrate_folio_unmap`); the
others of that moment are written by then.
"""

from __future__ import annotations

import math
from typing import Final

from allocator.cma_steps import (
    ANONYMOUS,
    CLEAN_FILE,
    COUNT,
    DIRTY_FILE,
    EBUSY,
    HELD,
    NOBODY,
    PAGES,
    UNWRITTEN_FILE,
    conclude,
    isolate,
    vacate,
)  # fmt: skip
from allocator.compiled import Bytes, Ints, Longs, Rows, Words, compiled
from allocator.costs import DROPPED, ISOLATED, REQUESTS, WRITTEN_BACK, modelled_ns
from allocator.frames import (
    CACHED,
    OWNER,
    POOL0,
    POOL_LONGS,
    POOL_PFN,
    POOL_ROW,
    POOL_SIZE,
    RECALLED,
    attach,
    index_of,
    lookup,
    pfn_of,
    pool_of,
    set_state,
    state_of,
)  # fmt: skip
from allocator.frames import FREE as FREE_STATE
from allocator.frames import TAKEN as TAKEN_STATE
from allocator.replay_cache import (
    AGAIN,
    DIRTY,
    DISK,
    EVICTED,
    FAILED,
    LENT,
    LENT_MOST,
    READS,
    REFAULTS,
    RESTORED,
    SLOWEST_NS,
    STORED,
    WRITING,
    Memory,
    drop,
    finish,
    flush,
    leave,
    longest,
    read,
    write,
)  # fmt: skip
from allocator.runs import clear, find, mark
from allocator.steps import (
    give,
    invalidate,
    load,
    oldest,
    pick_free,
    store,
    take,
)  # fmt: skip
from allocator.trace import ALLOC, DROP, EVICT, FILL, FREE, OP, READ, TIME, WRITE, A, B, C

__all__ = ["replay"]

CARVE_OUT: Final = 0
GUARANTEED: Final = 1
CMA: Final = 2

BUCKETS_PER_OCTAVE: Final = 16
BUCKETS: Final = 64 * BUCKETS_PER_OCTAVE


@compiled
def _place(memory: Memory, tenants: Bytes, base: int, bit: int, stop: int, tallies: Longs) -> int:
    """Find a page of [bit, stop) of a CMA area another place, which may be in the area, too: its row, now
    taken.

    There always is one: anonymous pages are at most half of the ordinary memory.
    """
    frames, _table, _inodes, counts = memory[0]
    while True:
        row = pick_free(frames, counts)
        if row == 0:
            leave(memory, oldest(frames), False, tallies)
            continue
        set_state(frames, row, TAKEN_STATE)
        counts[pool_of(frames, row) + POOL_SIZE] -= 1
        page = pfn_of(frames, counts, row) - base
        if not bit <= page < stop:
            return row
        # Reclaimed just now, and isolated as the whole range is.
        tenants[page] = NOBODY


@compiled
def _move_file(
    memory: Memory, tenants: Bytes, base: int, bit: int, stop: int, page: int, tallies: Longs
) -> None:
    """Copy a file page of [bit, stop) of a CMA area elsewhere, as it is."""
    cache, _shadow, _clean, _dirty, _writing, flags, times = memory
    frames, _table, _inodes, counts = cache
    old = int(counts[POOL0 + POOL_LONGS + POOL_ROW]) + page
    file, index = int(frames[old, OWNER]), index_of(frames, old)
    # Out of its list first: an isolated page is not reclaimed.
    take(*cache, 1, base + page, 1)
    new = _place(memory, tenants, base, bit, stop, tallies)
    attach(*cache, new, file, index)
    counts[pool_of(frames, new) + POOL_SIZE] += 1
    flags[new], times[new] = flags[old], times[old]


@compiled
def _claim(
    memory: Memory, tenants: Bytes, claim: Longs, base: int, bit: int, want: int, events: Longs,
    tallies: Longs,
) -> int:  # fmt: skip
    """Empty pages [bit, bit + want) of a CMA area; 0, or EBUSY when one is pinned.

    Between claims `tenants` knows anonymous pages only. The page cache's are entered here, and none of them
    is pinned, so none is left when the claim ends.
    """
    cache, shadow, _clean, _dirty, writing, flags, _times = memory
    frames, counts = cache[0], cache[3]
    stop = bit + want
    first = int(counts[POOL0 + POOL_LONGS + POOL_ROW])
    for page in range(bit, stop):
        state = state_of(frames, first + page)
        if state == FREE_STATE:
            take(*cache, 1, base + page, 1)
        elif state == CACHED:
            tenants[page] = CLEAN_FILE
            if flags[first + page] & DIRTY:
                tenants[page] = UNWRITTEN_FILE
            elif flags[first + page] & WRITING:
                tenants[page] = DIRTY_FILE
                # What else was under writeback is done when this page is.
                row = longest(cache, writing)
                while row != 0:
                    finish(memory, row)
                    row = longest(cache, writing)
    claim[HELD] = 0
    page = bit
    while page < stop:
        page = isolate(tenants, page, stop, claim)
        count = int(claim[COUNT])
        for k in range(count):
            each = int(claim[PAGES + k])
            tenant = int(tenants[each])
            if tenant == CLEAN_FILE:
                # Dropped by reclaim (reclaim_clean_pages_from_list), which leaves a shadow.
                row = first + each
                store(*shadow, int(frames[row, OWNER]), index_of(frames, row), True)
                take(*cache, 1, base + each, 1)
            elif tenant == ANONYMOUS:
                row = _place(memory, tenants, base, bit, stop, tallies)
                if row >= first:
                    tenants[row - first] = ANONYMOUS
            elif tenant != NOBODY:
                _move_file(memory, tenants, base, bit, stop, each, tallies)
        vacate(tenants, claim, count, events)
    failure = conclude(claim, want, events)
    if failure:
        for page in range(bit, stop):
            if tenants[page] == NOBODY:
                give(frames, counts, 1, base + page, 1, False)
    return failure


@compiled
def _allocate(
    kind: int, words: Words, tree: Ints, pages: int, base_pfn: int, memory: Memory, tenants: Bytes,
    claim: Longs, want: int, align: int, events: Longs, tallies: Longs,
) -> int:  # fmt: skip
    """`cma_alloc`: the first page, or -1 without one."""
    cache, clean = memory[0], memory[2]
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
            failure = _claim(memory, tenants, claim, base, bit, want, events, tallies)
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
    kind: int, events: Rows, words: Words, tree: Ints, pages: int, base_pfn: int, memory: Memory,
    tenants: Bytes, claim: Longs, buffers: Rows, prices: Longs, happened: Longs, tallies: Longs,
    histogram: Longs,
) -> None:  # fmt: skip
    """Apply a block of events to one allocator.

    `happened` counts what requests did, as `allocator.costs.CmaEvents` does, and `prices` says what it costs.
    `buffers` has a row for each buffer number: its first page and its pages, 0 when it is not held.
    `histogram` counts requests by modelled time, `BUCKETS_PER_OCTAVE` buckets to a factor of two.
    """
    cache, shadow, clean, dirty, writing, flags, _times = memory
    write_ns = int(prices[WRITTEN_BACK])
    guaranteed = kind == GUARANTEED
    pools = 2 if kind == CMA else 1
    base = int(cache[3][POOL0 + POOL_LONGS + POOL_PFN])
    for k in range(len(events)):
        op, a, b, c = int(events[k, OP]), int(events[k, A]), int(events[k, B]), int(events[k, C])
        if op == READ:
            read(memory, pools, guaranteed, tallies, a, b)
        elif op == WRITE:
            now = int(events[k, TIME])
            flush(memory, now, write_ns, tallies)
            write(memory, pools, guaranteed, now, write_ns, tallies, a, b, c != 0)
        elif op == FILL:
            tallies[READS] += 1
            if guaranteed and load(*clean, a, b) >= 0:
                tallies[RESTORED] += 1
            else:
                tallies[DISK] += 1
            tallies[REFAULTS] += invalidate(*shadow, a, b)
        elif op == EVICT:
            row = lookup(cache[0], cache[1], a, b)
            if row != 0:
                flags[row] |= AGAIN
                leave(memory, row, guaranteed, tallies)
                continue
            tallies[EVICTED] += 1
            store(*shadow, a, b, True)
            if guaranteed and store(*clean, a, b, True) >= 0:
                tallies[STORED] += 1
        elif op == DROP:
            flush(memory, int(events[k, TIME]), write_ns, tallies)
            drop(dirty, a, b, c)
            drop(writing, a, b, c)
            drop(cache, a, b, c)
            drop(shadow, a, b, c)
            if guaranteed:
                drop(clean, a, b, c)
        elif op == ALLOC and buffers[a, 1] == 0:
            flush(memory, int(events[k, TIME]), write_ns, tallies)
            before = modelled_ns(prices, happened)
            bit = _allocate(
                kind, words, tree, pages, base_pfn, memory, tenants, claim, b, c, happened, tallies
            )
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
    if len(events):
        flush(memory, int(events[-1, TIME]), write_ns, tallies)
