"""The steps of the page cache of a replay: reading, writing, writeback, leaving.

The page cache is an LRU list over the frames of `allocator.frames`, moved by the same steps as the
cleancache: pool 0 is ordinary memory, pool 1 (CMA only) the area's pages that no device holds. So is the
list of recently evicted pages (*shadow*) that tells a refault from a first read, and so are those of dirty
pages and of pages under writeback.

Written pages are dirty until they are synced, 30 s old or too many, then under writeback for as long as the
disk takes (`allocator.costs`), then clean; one that has to leave earlier is written first.

Source: Linux 7.3, mm/page-writeback.c and fs/fs-writeback.c.
"""

from __future__ import annotations

from typing import Final

from allocator.compiled import Ints, Longs, Table, compiled
from allocator.frames import (
    LRU,
    OWNER,
    POOL0,
    POOL_CACHED,
    POOL_LONGS,
    POOL_SIZE,
    PREV,
    index_of,
    lookup,
)  # fmt: skip
from allocator.steps import (
    MAX_INDEX,
    enter,
    hit,
    invalidate,
    invalidate_range,
    invalidate_row,
    load,
    oldest,
    store,
)  # fmt: skip

__all__ = ["Memory", "Store", "drop", "finish", "flush", "leave", "longest", "read", "write"]

Store = tuple[Table, Ints, Ints, Longs]
"""The four arrays of `allocator.frames`."""
Memory = tuple[Store, Store, Store, Store, Store, Ints, Longs]
"""The page cache, the shadow list, the cleancache, dirty pages and those under writeback, the one that is
longest so being the oldest. Of each frame of the page cache: its flags; and the time when it became dirty, or
when its writeback is done.
"""

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


@compiled
def _full(frames: Table, pools: int) -> bool:
    """Whether no pool has a free frame."""
    for pool in range(1, 1 + pools):  # noqa: SIM110  generators do not compile
        if frames[pool, PREV] != pool:
            return False
    return True


@compiled
def finish(memory: Memory, row: int) -> None:
    """The page in `row` is on disk now."""
    cache, _shadow, _clean, dirty, writing, flags, _times = memory
    frames = cache[0]
    if flags[row] & DIRTY:
        invalidate(*dirty, int(frames[row, OWNER]), index_of(frames, row))
    elif flags[row] & WRITING:
        invalidate(*writing, int(frames[row, OWNER]), index_of(frames, row))
    flags[row] &= ~(DIRTY | WRITING)


@compiled
def longest(cache: Store, store_: Store) -> int:
    """Where in the page cache the oldest page of a list is; 0 when the list is empty."""
    frames = store_[0]
    row = oldest(frames)
    return 0 if row == LRU else lookup(cache[0], cache[1], int(frames[row, OWNER]), index_of(frames, row))


@compiled
def _submit(memory: Memory, row: int, done_ns: int, tallies: Longs) -> None:
    """Begin to write the dirty page in `row`; it will take until `done_ns`."""
    cache, _shadow, _clean, _dirty, writing, flags, times = memory
    finish(memory, row)
    if _full(writing[0], 1):
        finish(memory, longest(cache, writing))
    enter(*writing, int(cache[0][row, OWNER]), index_of(cache[0], row))
    flags[row] |= WRITING
    times[row] = done_ns
    tallies[WRITTEN] += 1


@compiled
def flush(memory: Memory, now: int, write_ns: int, tallies: Longs) -> None:
    """Do what the flusher and the disk did until `now`."""
    cache, _shadow, _clean, dirty, writing, _flags, times = memory
    woken = now // WRITEBACK_PERIOD_NS * WRITEBACK_PERIOD_NS
    row = longest(cache, dirty)
    while row != 0 and times[row] <= woken - DIRTY_EXPIRE_NS:
        old = times[row] + DIRTY_EXPIRE_NS
        begun = -(-old // WRITEBACK_PERIOD_NS) * WRITEBACK_PERIOD_NS
        _submit(memory, row, begun + write_ns, tallies)
        row = longest(cache, dirty)
    row = longest(cache, writing)
    while row != 0 and times[row] <= now:
        finish(memory, row)
        row = longest(cache, writing)


@compiled
def leave(memory: Memory, row: int, guaranteed: bool, tallies: Longs) -> None:
    """Take a page out of the page cache, clean: remember it, and offer it to the cleancache."""
    cache, shadow, clean, _dirty, _writing, flags, _times = memory
    file, index = int(cache[0][row, OWNER]), index_of(cache[0], row)
    flag = int(flags[row])
    if flag & (DIRTY | WRITING):
        tallies[WRITTEN] += flag & DIRTY != 0
        finish(memory, row)
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
        leave(memory, oldest(cache[0]), guaranteed, tallies)
    row = enter(*cache, file, index)
    flags[row] = flag
    return row


@compiled
def read(memory: Memory, pools: int, guaranteed: bool, tallies: Longs, file: int, index: int) -> None:
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
def write(
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
        finish(memory, row)
        enter(*dirty, file, index)
        flags[row] |= DIRTY
        times[row] = now
    if sync:
        _submit(memory, row, now + write_ns, tallies)
    dirtyable = 0
    for pool in range(pools):
        dirtyable += int(cache[3][POOL0 + POOL_LONGS * pool + POOL_SIZE])
    while int(dirty[3][POOL0 + POOL_CACHED]) * DIRTY_SHARE > dirtyable:
        _submit(memory, longest(cache, dirty), now + write_ns, tallies)


@compiled
def drop(store_: Store, file: int, index: int, count: int) -> None:
    """Pages of a file end."""
    last = index + count - 1 if count else MAX_INDEX - 1
    invalidate_range(*store_, file, index, last)
