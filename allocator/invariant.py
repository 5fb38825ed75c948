"""What must hold after every operation, stated once. Tests, `gcma explore` and the board's cache cases all
ask here.

1. BYTES       a reader sees the current bytes, wherever they come from
2. FRAMES      every donated page is in exactly one state and on the list of that state; lookups agree with it
3. BUFFERS     what a device was given is taken, belongs to nobody else, and keeps its bytes
4. PLACEMENT   a request with a free aligned run succeeds, at the lowest place
5. COUNTERS    the counters add up
6. SOUND       nothing happens that would crash a kernel
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from allocator import frames as layout
from allocator.area import ContiguousArea
from allocator.cleancache import Cleancache
from allocator.error import AllocatorError
from allocator.guaranteed import GuaranteedArea

__all__ = ["Invariant", "InvariantError", "check_area", "check_cleancache", "lowest_run"]


class Invariant(Enum):
    """The promises; see the module."""

    BYTES = "a reader sees the current bytes"
    FRAMES = "every page is in exactly one state"
    BUFFERS = "a buffer belongs to its device alone"
    PLACEMENT = "a request with a free aligned run succeeds at the lowest place"
    COUNTERS = "counters add up"
    SOUND = "nothing crashes the kernel"


class InvariantError(AllocatorError):
    """An invariant does not hold.

    invariant   which one
    detail      what was seen, as a sentence without a period
    """

    def __init__(self, invariant: Invariant, detail: str) -> None:
        super().__init__(f"{invariant.value}: {detail}")
        self.invariant = invariant
        self.detail = detail


def check_cleancache(cache: Cleancache) -> None:
    """Check FRAMES and COUNTERS over all pools.

    Raises InvariantError.
    """
    with cache.lock:
        rows = cache.frames.tolist()
        by_state: dict[int, set[int]] = {
            state: set() for state in (layout.FREE, layout.CACHED, layout.TAKEN, layout.ORPHAN)
        }
        for at in range(layout.FIRST_FRAME, len(rows)):
            by_state[rows[at][layout.STATE] & 3].add(at)
        for at in by_state[layout.ORPHAN]:
            _fail(Invariant.FRAMES, cache, at, "is attached to an inode record that was freed")
        cached = by_state[layout.CACHED]
        _same(cache, _chain(rows, layout.LRU), cached, "the LRU list", "cached")
        pools = cache.pools
        for pool, counters in enumerate(pools):
            first, count = cache.rows_of(pool)
            mine = set(range(first, first + count))
            free, here = by_state[layout.FREE] & mine, cached & mine
            _same(cache, _chain(rows, 1 + pool), free, f"the free list of {counters.name}", "free")
            if (counters.size, counters.cached) != (len(free) + len(here), len(here)):
                raise InvariantError(
                    Invariant.COUNTERS,
                    f"pool {counters.name} says size {counters.size}, cached {counters.cached} "
                    f"and has {len(free) + len(here)} and {len(here)} pages",
                )
        _check_lookups(cache, rows, cached)
        computed = cache.counters.cached
        if computed != len(cached):
            raise InvariantError(
                Invariant.COUNTERS, f"cached computes to {computed} and {len(cached)} pages are cached"
            )


def check_area(area: ContiguousArea) -> None:
    """Check BUFFERS and COUNTERS of an area; of a guaranteed one also that exactly its buffers' pages are
    taken.

    Raises InvariantError.
    """
    with area.lock:
        held: set[int] = set()
        for pfn, count in area.allocations.items():
            pages = range(pfn, pfn + count)
            if not area.holds(pfn, count) or not held.isdisjoint(pages):
                raise InvariantError(
                    Invariant.BUFFERS, f"the buffer at {pfn:#x} overlaps another or leaves {area.name}"
                )
            held.update(pages)
        marked = {pfn for pfn in range(area.base_pfn, area.base_pfn + area.count) if is_marked(area, pfn)}
        if marked != held:
            pfn = min(marked ^ held)
            raise InvariantError(
                Invariant.BUFFERS,
                f"page {pfn:#x} of {area.name} is {'free' if pfn in held else 'taken'} in the bitmap "
                f"and {'in a buffer' if pfn in held else 'in no buffer'}",
            )
        if area.available_count != area.count - len(held):
            raise InvariantError(
                Invariant.COUNTERS,
                f"{area.name} says {area.available_count} available pages and has {area.count - len(held)}",
            )
        if isinstance(area, GuaranteedArea):
            for pfn in sorted(held):
                if not area.cleancache.taken(area.pool, pfn, 1):
                    raise InvariantError(
                        Invariant.BUFFERS,
                        f"page {pfn:#x} of {area.name} is in a buffer and in the cleancache",
                    )


def lowest_run(area: ContiguousArea, count: int, align: int) -> int | None:
    """Where a request must be placed: the lowest aligned run of free pages, found the plain way; None
    without one.
    """
    step = 1 << align
    pfn = -(-area.base_pfn // step) * step
    while pfn + count <= area.base_pfn + area.count:
        if not any(is_marked(area, each) for each in range(pfn, pfn + count)):
            return pfn
        pfn += step
    return None


def is_marked(area: ContiguousArea, pfn: int) -> bool:
    """Whether the bitmap says that a page is taken."""
    bit = pfn - area.base_pfn
    return bool(int(area.runs.words[bit >> 6]) >> (bit & 63) & 1)


def _check_lookups(cache: Cleancache, rows: list[list[int]], cached: set[int]) -> None:
    found = 0
    for at in cached:
        index = layout.index_of(cache.frames, at)
        if layout.lookup(cache.frames, cache.table, rows[at][layout.OWNER], index) != at:
            _fail(
                Invariant.FRAMES,
                cache,
                at,
                f"is cached for index {index:#x}, where a lookup does not find it",
            )
    for inode, newest in enumerate(cache.inodes.tolist()):
        at = newest
        while at:
            found += 1
            if found > len(cached) or rows[at][layout.OWNER] != inode:
                _fail(Invariant.FRAMES, cache, at, "is on the list of an inode that it does not belong to")
            at = rows[at][layout.INODE_NEXT]
            if at == newest:
                break
    entries = sum(1 for head in cache.table.tolist() for _ in layout.chain(cache.frames, head))
    if found != len(cached) or found != entries:
        raise InvariantError(
            Invariant.FRAMES, f"{len(cached)} pages are cached and {found} are on lists of inodes"
        )


def _chain(rows: list[list[int]], head: int) -> list[int]:
    """The rows of the list that begins at `head`."""
    chain: list[int] = []
    before, at = head, rows[head][layout.NEXT]
    while at != head:
        if rows[at][layout.PREV] != before or len(chain) > len(rows):
            raise InvariantError(Invariant.FRAMES, f"the list of row {head} is torn at row {at}")
        chain.append(at)
        before, at = at, rows[at][layout.NEXT]
    return chain


def _same(cache: Cleancache, chain: Iterable[int], wanted: set[int], what: str, state: str) -> None:
    present = set(chain)
    for at in present ^ wanted:
        _fail(
            Invariant.FRAMES,
            cache,
            at,
            f"is {'not ' if at in present else ''}{state} and {'' if at in present else 'not '}on {what}",
        )


def _fail(invariant: Invariant, cache: Cleancache, row: int, what: str) -> None:
    pfn = layout.pfn_of(cache.frames, cache.counts, row)
    raise InvariantError(invariant, f"page {pfn:#x} {what}")
