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

Written pages are dirty until they are synced, 30 s old or too many, then under writeback for as long as the
disk takes (`allocator.costs`), then clean; one that has to leave earlier is written first. CMA copies a dirty
page as it is, and waits for one under writeback; the others of that moment are written by then. Dirty pages,
and those under writeback, are two more lists moved by the same steps.

Source: Linux 7.3, mm/page-writeback.c and fs/fs-writeback.c for who is written when; mm/migrate.c
`migrate_folio_unmap` for the wait.
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
from allocator.compiled import Bytes, Ints, Longs, Rows, Table, Words, compiled
from allocator.costs import DROPPED, ISOLATED, REQUESTS, WRITTEN_BACK, modelled_ns
from allocator.frames import (
    CACHED,
    LRU,
    OWNER,
    POOL0,
    POOL_CACHED,
    POOL_LONGS,
    POOL_PFN,
    POOL_ROW,
    POOL_SIZE,
    PREV,
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
from allocator.trace import ALLOC, DROP, EVICT, FILL, FREE, OP, READ, TIME, WRITE, A, B, C

__all__ = ["Memory", "Store", "replay"]

Store = tuple[Table, Ints, Ints, Longs]
"""The four arrays of `allocator.frames`."""
Memory = tuple[Store, Store, Store, Store, Store, Ints, Longs]
"""The page cache, the shadow list, the cleancache, dirty pages and those under writeback, the one that is
longest so being the oldest. Of each frame of the page cache: its flags; and the time when it became dirty, or
when its writeback is done.
"""

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
WRITES: Final = 11
WRITTEN: Final = 12
"""Pages written to disk."""
TALLIES: Final = 13

# Flags of a page.
AGAIN: Final = 1
"""Read again while it was here, or soon after it had left: of the workingset."""
DIRTY: Final = 2
WRITING: Final = 4
"""Under writeback."""
UNMAPPED: Final = 8
"""Written but never read, so never stored in the cleancache (PG_mappedtodisk)."""

# The defaults of mm/page-writeback.c.
WRITEBACK_PERIOD_NS: Final = 5_000_000_000
"""How often the flusher looks for old pages (dirty_writeback_interval)."""
DIRTY_EXPIRE_NS: Final = 30_000_000_000
"""They are old when they have been dirty for so long (dirty_expire_interval)."""
DIRTY_SHARE: Final = 10
"""One in so many pages of `global_dirtyable_memory` may be dirty (dirty_background_ratio), and as many again
be under writeback before writers are held up (vm_dirty_ratio).
"""

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
def _finish(memory: Memory, row: int) -> None:
    """The page in `row` is on disk now."""
    cache, _shadow, _clean, dirty, writing, flags, _times = memory
    frames = cache[0]
    if flags[row] & DIRTY:
        invalidate(*dirty, int(frames[row, OWNER]), index_of(frames, row))
    elif flags[row] & WRITING:
        invalidate(*writing, int(frames[row, OWNER]), index_of(frames, row))
    flags[row] &= ~(DIRTY | WRITING)


@compiled
def _row(cache: Store, store_: Store) -> int:
    """Where in the page cache the oldest page of a list is; 0 when the list is empty."""
    frames = store_[0]
    row = oldest(frames)
    return 0 if row == LRU else lookup(cache[0], cache[1], int(frames[row, OWNER]), index_of(frames, row))


@compiled
def _submit(memory: Memory, row: int, done_ns: int, tallies: Longs) -> None:
    """Begin to write the dirty page in `row`; it will take until `done_ns`."""
    cache, _shadow, _clean, _dirty, writing, flags, times = memory
    _finish(memory, row)
    if _full(writing[0], 1):
        _finish(memory, _row(cache, writing))
    enter(*writing, int(cache[0][row, OWNER]), index_of(cache[0], row))
    flags[row] |= WRITING
    times[row] = done_ns
    tallies[WRITTEN] += 1


@compiled
def _flush(memory: Memory, now: int, write_ns: int, tallies: Longs) -> None:
    """Do what the flusher and the disk did until `now`."""
    cache, _shadow, _clean, dirty, writing, _flags, times = memory
    woken = now // WRITEBACK_PERIOD_NS * WRITEBACK_PERIOD_NS
    row = _row(cache, dirty)
    while row != 0 and times[row] <= woken - DIRTY_EXPIRE_NS:
        old = times[row] + DIRTY_EXPIRE_NS
        begun = -(-old // WRITEBACK_PERIOD_NS) * WRITEBACK_PERIOD_NS
        _submit(memory, row, begun + write_ns, tallies)
        row = _row(cache, dirty)
    row = _row(cache, writing)
    while row != 0 and times[row] <= now:
        _finish(memory, row)
        row = _row(cache, writing)


@compiled
def _leave(memory: Memory, row: int, guaranteed: bool, tallies: Longs) -> None:
    """Take a page out of the page cache, clean: remember it, and offer it to the cleancache."""
    cache, shadow, clean, _dirty, _writing, flags, _times = memory
    file, index = int(cache[0][row, OWNER]), index_of(cache[0], row)
    flag = int(flags[row])
    if flag & (DIRTY | WRITING):
        tallies[WRITTEN] += flag & DIRTY != 0
        _finish(memory, row)
    invalidate_row(*cache, row)
    tallies[EVICTED] += 1
    store(*shadow, file, index, True)
    if guaranteed:
        if flag & UNMAPPED:
            invalidate(*clean, file, index)
        elif store(*clean, file, index, flag & AGAIN != 0) >= 0:
            tallies[STORED] += 1


@compiled
def _enter(
    memory: Memory, pools: int, guaranteed: bool, tallies: Longs, file: int, index: int, flag: int
) -> int:
    """Put a page into the page cache, where need be in place of the one used longest ago; its row.

    There always is one: anonymous pages are at most half of the ordinary memory.
    """
    cache, flags = memory[0], memory[5]
    if _full(cache[0], pools):
        _leave(memory, oldest(cache[0]), guaranteed, tallies)
    row = enter(*cache, file, index)
    flags[row] = flag
    return row


@compiled
def _read(memory: Memory, pools: int, guaranteed: bool, tallies: Longs, file: int, index: int) -> None:
    """The program reads a page."""
    cache, shadow, clean, _dirty, _writing, flags, _times = memory
    tallies[READS] += 1
    row = hit(*cache, file, index)
    if row != 0:
        flags[row] |= AGAIN
        tallies[HITS] += 1
        return
    refault = invalidate(*shadow, file, index)
    tallies[REFAULTS] += refault
    if guaranteed and load(*clean, file, index) >= 0:
        tallies[RESTORED] += 1
    else:
        tallies[DISK] += 1
    _enter(memory, pools, guaranteed, tallies, file, index, AGAIN * refault)


@compiled
def _write(
    memory: Memory, pools: int, guaranteed: bool, now: int, write_ns: int, tallies: Longs, file: int,
    index: int, sync: bool,
) -> None:  # fmt: skip
    """The program writes a whole page. That is no use of it: neither does it move in the list, nor is it a
    refault (__GFP_WRITE in `filemap_add_folio`). What the cleancache holds of it goes, or is renewed, when
    the page leaves.
    """
    cache, shadow, _clean, dirty, _writing, flags, times = memory
    tallies[WRITES] += 1
    row = lookup(cache[0], cache[1], file, index)
    if row == 0:
        invalidate(*shadow, file, index)
        row = _enter(memory, pools, guaranteed, tallies, file, index, UNMAPPED)
    if not flags[row] & DIRTY:
        _finish(memory, row)
        enter(*dirty, file, index)
        flags[row] |= DIRTY
        times[row] = now
    if sync:
        _submit(memory, row, now + write_ns, tallies)
    dirtyable = 0
    for pool in range(pools):
        dirtyable += int(cache[3][POOL0 + POOL_LONGS * pool + POOL_SIZE])
    while int(dirty[3][POOL0 + POOL_CACHED]) * DIRTY_SHARE > dirtyable:
        _submit(memory, _row(cache, dirty), now + write_ns, tallies)


@compiled
def _drop(store_: Store, file: int, index: int, count: int) -> None:
    """Pages of a file end."""
    last = index + count - 1 if count else (1 << 52) - 1
    invalidate_range(*store_, file, index, last)


@compiled
def _place(memory: Memory, tenants: Bytes, base: int, bit: int, stop: int, tallies: Longs) -> int:
    """Find a page of [bit, stop) of a CMA area another place, which may be in the area, too: its row, now
    taken.

    There always is one, as in `_enter`.
    """
    frames, _table, _inodes, counts = memory[0]
    while True:
        row = pick_free(frames, counts)
        if row == 0:
            _leave(memory, oldest(frames), False, tallies)
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
                row = _row(cache, writing)
                while row != 0:
                    _finish(memory, row)
                    row = _row(cache, writing)
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
            _read(memory, pools, guaranteed, tallies, a, b)
        elif op == WRITE:
            now = int(events[k, TIME])
            _flush(memory, now, write_ns, tallies)
            _write(memory, pools, guaranteed, now, write_ns, tallies, a, b, c != 0)
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
                _leave(memory, row, guaranteed, tallies)
                continue
            tallies[EVICTED] += 1
            store(*shadow, a, b, True)
            if guaranteed and store(*clean, a, b, True) >= 0:
                tallies[STORED] += 1
        elif op == DROP:
            _flush(memory, int(events[k, TIME]), write_ns, tallies)
            _drop(dirty, a, b, c)
            _drop(writing, a, b, c)
            _drop(cache, a, b, c)
            _drop(shadow, a, b, c)
            if guaranteed:
                _drop(clean, a, b, c)
        elif op == ALLOC and buffers[a, 1] == 0:
            _flush(memory, int(events[k, TIME]), write_ns, tallies)
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
        _flush(memory, int(events[-1, TIME]), write_ns, tallies)
