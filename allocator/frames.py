"""The state of all donated pages, and the small steps that change it.

Everything the cleancache knows lies in four arrays, so that compiled code can work on them:

`frames`  int32, one row of eight numbers for each page (*frame*), 32 bytes:

    OWNER, INDEX_LOW               which page of which file it holds: dense inode id, low half of the index
    CHAIN                          the next row at the same place of the table
    PREV, NEXT                     circular list: of free frames of its pool, or of all cached frames (the
                                   LRU list)
    INODE_PREV, INODE_NEXT         circular list of the cached frames of one inode
    STATE                          FREE, CACHED, TAKEN or ORPHAN; above it the pool, and the rest of the index

  Row 0 is the head of the LRU list, rows 1 to 64 are the heads of the pools' free lists, the frames follow.
`table`   int32, hash of (inode, index) -> first row there, 0 for none; two places a frame, 8 bytes. Rows
          of one place are chained: to delete one, nothing else has to move up.
`inodes`  int32, inode id -> the row last stored for it, 0 for none.
`counts`  int64: choices of the revision, event counters, and of each pool its place and counters.

Lists grow at the head and are used up at the tail, as the kernel's do (mm/cleancache.c of the series:
`list_add`, `list_last_entry`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from allocator.compiled import Ints, Longs, Table, compiled

__all__ = [
    "CACHED",
    "FREE",
    "ORPHAN",
    "TAKEN",
    "attach",
    "detach",
    "insert",
    "link",
    "lookup",
    "remove",
    "table_add",
]

OWNER: Final = 0
INDEX_LOW: Final = 1
CHAIN: Final = 2
PREV: Final = 3
NEXT: Final = 4
INODE_PREV: Final = 5
INODE_NEXT: Final = 6
STATE: Final = 7
COLUMNS: Final = 8

FREE: Final = 0
CACHED: Final = 1
TAKEN: Final = 2
ORPHAN: Final = 3
"""Cached for an inode record that is gone (H5): reached by no lookup, given to nobody."""
STATE_BITS: Final = 2
POOL_BITS: Final = 6
HIGH_SHIFT: Final = STATE_BITS + POOL_BITS

LRU: Final = 0
MAX_POOLS: Final = 64
FIRST_FRAME: Final = 1 + MAX_POOLS

# counts: choices
FAIL_WHEN_FULL: Final = 0
ADMIT_ALL: Final = 1
EXCLUSIVE: Final = 2
LOSE_RECORD: Final = 3
COUNT_ALL_SKIPS: Final = 4
POOLS: Final = 5
# counts: events
STORED: Final = 6
SKIPPED: Final = 7
RESTORED: Final = 8
MISSED: Final = 9
RECLAIMED: Final = 10
RECALLED: Final = 11
INVALIDATED: Final = 12
# counts: pools
POOL0: Final = 16
POOL_ROW: Final = 0
"""Row of the pool's first page."""
POOL_PFN: Final = 1
POOL_COUNT: Final = 2
POOL_SIZE: Final = 3
"""Pages that are not taken."""
POOL_CACHED: Final = 4
POOL_RECALLED: Final = 5
POOL_LONGS: Final = 8
COUNTS: Final = POOL0 + MAX_POOLS * POOL_LONGS

_MASK31: Final = (1 << 31) - 1
_MASK32: Final = (1 << 32) - 1


@compiled
def link(frames: Table, row: int, column: int) -> int:
    """The row that a link of `row` leads to. No link is negative: told so, LLVM spares each use a test."""
    return int(frames[row, column]) & _MASK31


@compiled
def insert(frames: Table, row: int, head: int) -> None:
    """Put `row` right behind `head`."""
    after = link(frames, head, NEXT)
    frames[row, PREV] = head
    frames[row, NEXT] = after
    frames[after, PREV] = row
    frames[head, NEXT] = row


@compiled
def remove(frames: Table, row: int) -> None:
    """Take `row` out of its list."""
    before = link(frames, row, PREV)
    after = link(frames, row, NEXT)
    frames[before, NEXT] = after
    frames[after, PREV] = before


@compiled
def home(size: int, inode: int, index: int) -> int:
    """Where in a table of `size` places the entry of (inode, index) belongs."""
    # No product may reach 2^63: Numba's integers do not wrap. 0x61c88647: the kernel's GOLDEN_RATIO_32,
    # which spreads pages in a row over the table without a collision.
    mixed = (index & _MASK32) * 0x61C88647 ^ inode * 0x2545F491 ^ (index >> 32) * 0x165667B1
    return (((mixed ^ (mixed >> 32)) & _MASK32) * size) >> 32


@compiled
def index_of(frames: Table, row: int) -> int:
    """The page index that `row` holds."""
    return (int(frames[row, STATE]) >> HIGH_SHIFT << 32) | (int(frames[row, INDEX_LOW]) & _MASK32)


@compiled
def lookup(frames: Table, table: Ints, inode: int, index: int) -> int:
    """The row that holds (inode, index), or 0."""
    low = ((index & _MASK32) ^ 0x80000000) - 0x80000000
    high = index >> 32
    row = int(table[home(len(table), inode, index)]) & _MASK31
    while row != 0:
        if (
            frames[row, INDEX_LOW] == low
            and frames[row, OWNER] == inode
            and int(frames[row, STATE]) >> HIGH_SHIFT == high
        ):
            return row
        row = link(frames, row, CHAIN)
    return 0


def chain(frames: Table, head: int) -> Iterator[int]:
    """The rows of one place of the table, from its first row on."""
    while head:
        yield head
        head = link(frames, head, CHAIN)


@compiled
def table_add(frames: Table, table: Ints, row: int) -> None:
    """Enter `row` under what it holds, which is not in the table yet."""
    at = home(len(table), int(frames[row, OWNER]), index_of(frames, row))
    frames[row, CHAIN] = table[at]
    table[at] = row


@compiled
def table_drop(frames: Table, table: Ints, row: int) -> None:
    """Delete the entry of `row`."""
    at = home(len(table), int(frames[row, OWNER]), index_of(frames, row))
    before = int(table[at]) & _MASK31
    if before == row:
        table[at] = frames[row, CHAIN]
        return
    while frames[before, CHAIN] != row:
        before = link(frames, before, CHAIN)
    frames[before, CHAIN] = frames[row, CHAIN]


@compiled
def pool_of(frames: Table, row: int) -> int:
    """Where in `counts` the pool of `row` begins."""
    return POOL0 + POOL_LONGS * (int(frames[row, STATE]) >> STATE_BITS & (MAX_POOLS - 1))


@compiled
def state_of(frames: Table, row: int) -> int:
    """FREE, CACHED, TAKEN or ORPHAN."""
    return int(frames[row, STATE]) & ((1 << STATE_BITS) - 1)


@compiled
def set_state(frames: Table, row: int, state: int) -> None:
    """Change the state, keep the pool."""
    frames[row, STATE] = (int(frames[row, STATE]) >> STATE_BITS << STATE_BITS) | state


@compiled
def pfn_of(frames: Table, counts: Longs, row: int) -> int:
    """The page that `row` stands for."""
    pool = pool_of(frames, row)
    return int(counts[pool + POOL_PFN]) + row - int(counts[pool + POOL_ROW])


@compiled
def set_free(frames: Table, row: int) -> None:
    """Make `row`, which is on no list, a free frame at the head of its pool's list."""
    set_state(frames, row, FREE)
    insert(frames, row, 1 + (int(frames[row, STATE]) >> STATE_BITS & (MAX_POOLS - 1)))


@compiled
def attach(frames: Table, table: Ints, inodes: Ints, counts: Longs, row: int, inode: int, index: int) -> None:
    """Make `row`, which is on no list, hold (inode, index), as the newest of all cached frames."""
    frames[row, OWNER] = inode
    frames[row, INDEX_LOW] = ((index & _MASK32) ^ 0x80000000) - 0x80000000
    low_bits = int(frames[row, STATE]) & ((1 << HIGH_SHIFT) - (1 << STATE_BITS))
    frames[row, STATE] = (index >> 32 << HIGH_SHIFT) | low_bits | CACHED
    insert(frames, row, LRU)
    table_add(frames, table, row)
    newest = int(inodes[inode]) & _MASK31
    if newest == 0:
        frames[row, INODE_PREV] = row
        frames[row, INODE_NEXT] = row
    else:
        oldest = link(frames, newest, INODE_PREV)
        frames[row, INODE_PREV] = oldest
        frames[row, INODE_NEXT] = newest
        frames[oldest, INODE_NEXT] = row
        frames[newest, INODE_PREV] = row
    inodes[inode] = row
    counts[pool_of(frames, row) + POOL_CACHED] += 1


@compiled
def detach(frames: Table, table: Ints, inodes: Ints, counts: Longs, row: int) -> None:
    """Make the cached `row` hold nothing and be on no list."""
    inode = int(frames[row, OWNER])
    table_drop(frames, table, row)
    before = link(frames, row, INODE_PREV)
    after = link(frames, row, INODE_NEXT)
    if after == row:
        inodes[inode] = 0
    else:
        frames[before, INODE_NEXT] = after
        frames[after, INODE_PREV] = before
        if inodes[inode] == row:
            inodes[inode] = after
    remove(frames, row)
    frames[row, OWNER] = -1
    counts[pool_of(frames, row) + POOL_CACHED] -= 1
