"""What can happen to donated pages: the steps of the cleancache, each the single implementation of its
meaning.

All take the four arrays of `allocator.frames`. Inodes are dense ids, pages are pfns; -1 stands for none.
The rules are those of mm/cleancache.c in the posted series (v2 unless `counts` holds other choices);
docs/semantics.md lists them with their sources.
"""

from __future__ import annotations

from typing import Final

from allocator.compiled import Ints, Longs, Table, compiled
from allocator.frames import (
    ADMIT_ALL,
    CACHED,
    COUNT_ALL_SKIPS,
    EXCLUSIVE,
    FAIL_WHEN_FULL,
    FREE,
    INODE_PREV,
    INVALIDATED,
    LOSE_RECORD,
    LRU,
    MISSED,
    ORPHAN,
    OWNER,
    POOL0,
    POOL_CACHED,
    POOL_LONGS,
    POOL_PFN,
    POOL_RECALLED,
    POOL_ROW,
    POOL_SIZE,
    POOLS,
    PREV,
    RECALLED,
    RECLAIMED,
    RESTORED,
    SKIPPED,
    STORED,
    TAKEN,
    attach,
    detach,
    index_of,
    insert,
    link,
    lookup,
    pfn_of,
    pool_of,
    remove,
    set_free,
    set_state,
    state_of,
)

__all__ = [
    "enter",
    "give",
    "hit",
    "in_range",
    "invalidate",
    "invalidate_inode",
    "invalidate_range",
    "invalidate_row",
    "load",
    "load_many",
    "oldest",
    "pick_free",
    "renew",
    "store",
    "store_many",
    "take",
    "taken",
]

EINVAL: Final = 22
MAX_INDEX: Final = 1 << 52
"""Page indexes lie below this: 2^64 bytes of file."""
FEW: Final = 64
"""Ranges of up to this many indexes are looked up one by one."""


@compiled
def pick_free(frames: Table, counts: Longs) -> int:
    """A free frame, off its list: the one freed longest ago in the first pool that has any; 0 for none."""
    for pool in range(1, 1 + int(counts[POOLS])):
        row = link(frames, pool, PREV)
        if row != pool:
            remove(frames, row)
            return row
    return 0


@compiled
def oldest(frames: Table) -> int:
    """The cached frame used longest ago, or 0. Orphans are passed over, as `reclaim_folio_from_lru` does."""
    row = link(frames, LRU, PREV)
    while row != LRU and state_of(frames, row) == ORPHAN:
        row = link(frames, row, PREV)
    return row


@compiled
def store(
    frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int, index: int, workingset: bool
) -> int:
    """Choose the page that is to hold (inode, index): the pfn to copy to, or -1 for not stored.

    A page that is not `workingset` is refused and drops the entry there may be (`store_into_inode`).
    """
    row = lookup(frames, table, inode, index)
    admitted = workingset or counts[ADMIT_ALL] != 0
    if not admitted:
        counts[SKIPPED] += 1
        if row != 0:
            detach(frames, table, inodes, counts, row)
            set_free(frames, row)
            counts[RECLAIMED] += 1
        return -1
    if counts[COUNT_ALL_SKIPS] != 0:
        counts[SKIPPED] += 1
    if row != 0:
        renew(frames, row)
        return pfn_of(frames, counts, row)
    row = enter(frames, table, inodes, counts, inode, index)
    return pfn_of(frames, counts, row) if row != 0 else -1


@compiled
def enter(frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int, index: int) -> int:
    """Store (inode, index), which is admitted and not there: its row, or 0 for not stored."""
    row = pick_free(frames, counts)
    if row == 0 and counts[FAIL_WHEN_FULL] == 0:
        row = oldest(frames)
        if row != 0:
            owner = int(frames[row, OWNER])
            detach(frames, table, inodes, counts, row)
            counts[RECLAIMED] += 1
            if counts[LOSE_RECORD] != 0 and owner == inode and inodes[inode] == 0:
                # The record just emptied is the one that the store goes on to use: it is freed with a page
                # attached.
                set_state(frames, row, ORPHAN)
                insert(frames, row, LRU)
                counts[pool_of(frames, row) + POOL_CACHED] += 1
                counts[STORED] += 1
                return row
    if row == 0:
        if counts[COUNT_ALL_SKIPS] == 0:
            counts[SKIPPED] += 1
        return 0
    attach(frames, table, inodes, counts, row, inode, index)
    counts[STORED] += 1
    return row


@compiled
def renew(frames: Table, row: int) -> None:
    """Make the cached `row` the newest entry."""
    remove(frames, row)
    insert(frames, row, LRU)


@compiled
def load(frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int, index: int) -> int:
    """The page that holds (inode, index), or -1, by the rules of `hit`."""
    row = hit(frames, table, inodes, counts, inode, index)
    return pfn_of(frames, counts, row) if row != 0 else -1


@compiled
def hit(frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int, index: int) -> int:
    """The row that held (inode, index) when it was asked for, or 0. It becomes the newest entry, or is
    dropped where hits are exclusive.

    An exclusive hit counts as invalidated, so that `cached` can still be computed from the other counters.
    """
    row = lookup(frames, table, inode, index)
    if row == 0:
        counts[MISSED] += 1
        return 0
    counts[RESTORED] += 1
    if counts[EXCLUSIVE] != 0:
        invalidate_row(frames, table, inodes, counts, row)
    else:
        renew(frames, row)
    return row


@compiled
def invalidate_row(frames: Table, table: Ints, inodes: Ints, counts: Longs, row: int) -> None:
    """Drop the entry in `row`."""
    detach(frames, table, inodes, counts, row)
    set_free(frames, row)
    counts[INVALIDATED] += 1


@compiled
def invalidate(frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int, index: int) -> int:
    """Drop the entry of (inode, index); how many there were, 0 or 1."""
    row = lookup(frames, table, inode, index)
    if row == 0:
        return 0
    invalidate_row(frames, table, inodes, counts, row)
    return 1


@compiled
def invalidate_range(
    frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int, first: int, last: int
) -> int:
    """Drop the entries of indexes first to last, both included; how many there were."""
    dropped = 0
    if last - first < FEW:
        for index in range(first, last + 1):
            dropped += invalidate(frames, table, inodes, counts, inode, index)
        return dropped
    newest = int(inodes[inode])
    if newest == 0:
        return 0
    row = link(frames, newest, INODE_PREV)
    while True:
        done = row == newest
        newer = link(frames, row, INODE_PREV)
        index = index_of(frames, row)
        if first <= index <= last:
            invalidate_row(frames, table, inodes, counts, row)
            dropped += 1
        if done:
            return dropped
        row = newer


@compiled
def invalidate_inode(frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int) -> int:
    """Drop all entries of the inode, the one stored first at first; how many there were."""
    dropped = 0
    while inodes[inode] != 0:
        invalidate_row(frames, table, inodes, counts, int(frames[int(inodes[inode]), INODE_PREV]))
        dropped += 1
    return dropped


@compiled
def take(frames: Table, table: Ints, inodes: Ints, counts: Longs, pool: int, pfn: int, count: int) -> int:
    """Take pages [pfn, pfn + count) out of the cleancache, dropping what they hold; 0 or -EINVAL.

    On failure the pages already taken are given back, empty (`alloc_folio_range`,
    `cleancache_backend_get_folio`).
    """
    at = POOL0 + POOL_LONGS * pool
    row = int(counts[at + POOL_ROW]) + pfn - int(counts[at + POOL_PFN])
    for each in range(row, row + count):
        state = state_of(frames, each)
        if state == FREE:
            remove(frames, each)
        elif state == CACHED:
            detach(frames, table, inodes, counts, each)
            counts[RECALLED] += 1
            counts[at + POOL_RECALLED] += 1
        else:
            for back in range(row, each):
                set_free(frames, back)
            counts[at + POOL_SIZE] += each - row
            return -EINVAL
        set_state(frames, each, TAKEN)
        counts[at + POOL_SIZE] -= 1
    return 0


@compiled
def give(frames: Table, counts: Longs, pool: int, pfn: int, count: int, highest_first: bool) -> int:
    """Donate pages [pfn, pfn + count), empty, to be used in that order; 0, or -EINVAL when one is not
    taken.
    """
    at = POOL0 + POOL_LONGS * pool
    row = int(counts[at + POOL_ROW]) + pfn - int(counts[at + POOL_PFN])
    if taken(frames, counts, pool, pfn, count) < count:
        return -EINVAL
    for each in range(count):
        set_free(frames, row + count - 1 - each if highest_first else row + each)
    counts[at + POOL_SIZE] += count
    return 0


@compiled
def taken(frames: Table, counts: Longs, pool: int, pfn: int, count: int) -> int:
    """How many pages from `pfn` on, of `count`, are taken without a gap."""
    at = POOL0 + POOL_LONGS * pool
    row = int(counts[at + POOL_ROW]) + pfn - int(counts[at + POOL_PFN])
    for each in range(count):
        if state_of(frames, row + each) != TAKEN:
            return each
    return count


@compiled
def in_range(indexes: Longs) -> bool:
    """Whether all are page indexes."""
    for each in range(len(indexes)):  # noqa: SIM110  generators do not compile
        if indexes[each] < 0 or indexes[each] >= MAX_INDEX:
            return False
    return True


@compiled
def store_many(
    frames: Table,
    table: Ints,
    inodes: Ints,
    counts: Longs,
    inode: int,
    indexes: Longs,
    workingset: bool,
    pfns: Longs,
) -> int:
    """`store` for each of `indexes`, results in `pfns`; how many were stored."""
    stored = 0
    for each in range(len(indexes)):
        pfns[each] = store(frames, table, inodes, counts, inode, int(indexes[each]), workingset)
        stored += pfns[each] >= 0
    return stored


@compiled
def load_many(
    frames: Table, table: Ints, inodes: Ints, counts: Longs, inode: int, indexes: Longs, pfns: Longs
) -> int:
    """`load` for each of `indexes`, results in `pfns`; how many were found."""
    found = 0
    for each in range(len(indexes)):
        pfns[each] = load(frames, table, inodes, counts, inode, int(indexes[each]))
        found += pfns[each] >= 0
    return found
