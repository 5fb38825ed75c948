"""The kernel's early allocator, as far as reserved memory meets it (mm/memblock.c of Linux 7.3)."""

from __future__ import annotations

from collections.abc import Iterable

from dts.range import Range, RangeSet, without
from dts.tree import U64

ANYWHERE = U64
"""``MEMBLOCK_ALLOC_ANYWHERE``."""


class Memblock:
    """RAM, what of it is reserved, and what is not mapped. Allocation is top-down unless told otherwise."""

    def __init__(self, memory: Iterable[Range], page_size: int) -> None:
        self.memory = RangeSet(_whole_pages(memory, page_size))
        self.page_size = page_size
        self.reserved = RangeSet()
        self.nomap = RangeSet()

    def reserve(self, item: Range) -> None:
        """``memblock_reserve``: accepts any range, also a reserved one and one outside of RAM."""
        self.reserved.add(item)

    def free(self, item: Range) -> None:
        """``memblock_phys_free``: the range is free afterwards, whoever had reserved it."""
        self.reserved.discard(item)

    def mark_nomap(self, item: Range) -> None:
        """``memblock_mark_nomap``: the range leaves the memory that is given out."""
        self.nomap.add(item)

    def clear_nomap(self, item: Range) -> None:
        """``memblock_clear_nomap``."""
        self.nomap.discard(item)

    def is_memory(self, item: Range) -> bool:
        """Whether RAM overlaps the range (``memblock_overlaps_region``)."""
        return self.memory.overlaps(item)

    def is_reserved(self, item: Range) -> bool:
        """Whether a reservation overlaps the range (``memblock_is_region_reserved``)."""
        return self.reserved.overlaps(item)

    def free_ranges(self) -> list[Range]:
        """RAM that is neither reserved nor unmapped, ascending."""
        return list(without(self.memory, self.reserved, self.nomap))

    def find(self, size: int, align: int, start: int, end: int, *, bottom_up: bool = False) -> int:
        """``memblock_find_in_range_node``: a free address from ``start`` to before ``end``, 0 without any.

        Page 0 is never given out. ``align`` is used as a bit mask, as the kernel does, also when it is no
        power of two.
        """
        start = max(start, self.page_size)
        end = max(start, end)
        mask = align - 1
        free = self.free_ranges()
        for item in free if bottom_up else reversed(free):
            first = min(max(item.base, start), end)
            last = min(max(item.end, start), end)
            if bottom_up:
                at = ((first - 1) | mask) + 1
                if at < last and last - at >= size:
                    return at
            elif last >= size:
                at = (last - size) & ~mask
                if at >= first:
                    return at
        return 0


def _whole_pages(memory: Iterable[Range], page_size: int) -> Iterable[Range]:
    """Banks without the parts of pages at their edges (``early_init_dt_add_memory_arch``)."""
    for bank in memory:
        base = -(-bank.base // page_size) * page_size
        end = min(bank.end, U64) // page_size * page_size
        if end > base:
            yield Range(base, end - base)
