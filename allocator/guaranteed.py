"""Guaranteed CMA: an area whose free pages are the cleancache's (mm/gcma.c of the posted series)."""

from __future__ import annotations

import errno

from allocator.area import ContiguousArea, SecondClass
from allocator.cleancache import Cleancache
from allocator.error import AreaError, PoolError

__all__ = ["GuaranteedArea"]


class GuaranteedArea(ContiguousArea):
    """A contiguous area that lends its free pages to `cleancache`.

    A request succeeds whenever the area has a free aligned run: what the run holds is dropped, never moved
    or written.

    Raises AreaError when the cleancache refuses the pool.
    """

    second_class = SecondClass.DROPPABLE

    def __init__(self, name: str, base_pfn: int, count: int, cleancache: Cleancache) -> None:
        super().__init__(name, base_pfn, count, checked=cleancache.revision.checks_release)
        self.cleancache = cleancache
        self._rolls_back = cleancache.revision.rolls_back
        # References beyond the one of the allocation, for the pages that have any; v1 leaves negative ones
        # behind.
        self._references: dict[int, int] = {}
        try:
            self.pool = cleancache.register_pool(name, base_pfn, count)
        except PoolError as error:
            raise AreaError(f"area {name!r} cannot be set up: {error}") from error
        cleancache.put_folios(self.pool, base_pfn, count)

    def get_page(self, pfn: int) -> None:
        """Add a reference to a page handed out, as a pin or a mapping of a client does.

        Raises AreaError when the page is not handed out.
        """
        with self.lock:
            self._require_taken(pfn)
            self._references[pfn] = self._references.get(pfn, 0) + 1

    def put_page(self, pfn: int) -> None:
        """Drop a reference that `get_page` added.

        Raises AreaError when there is none.
        """
        with self.lock:
            if self._references.get(pfn, 0) < 1:
                raise AreaError(f"area {self.name}: page {pfn:#x} has no extra reference to drop")
            self._set_references(pfn, self._references[pfn] - 1)

    def references(self, pfn: int) -> int:
        """The reference count of a page: 0 in the cleancache, 1 when handed out, more with extra
        references.
        """
        with self.lock:
            return self.cleancache.taken(self.pool, pfn, 1) + self._references.get(pfn, 0)

    def _claim(self, pfn: int, count: int) -> int:
        """`gcma_alloc_range`: take every page from the cleancache."""
        return -self.cleancache.get_folio(self.pool, pfn, count)

    def _surrender(self, pfn: int, count: int) -> int:
        """`gcma_free_range`: drop the reference of each page, then give all back, unless one is still in
        use.
        """
        if self.cleancache.taken(self.pool, pfn, count) == count and not self._references:
            return -self.cleancache.put_folio(self.pool, pfn, count)
        for at in range(pfn, pfn + count):
            if self.references(at) != 1:
                if not self._rolls_back:
                    for dropped in range(pfn, at + 1):
                        self._set_references(dropped, self._references.get(dropped, 0) - 1)
                return errno.EINVAL
        return -self.cleancache.put_folio(self.pool, pfn, count)

    def _refuses(self, failure: int) -> bool:
        return self.cleancache.revision.heeds_failed_free

    def _set_references(self, pfn: int, count: int) -> None:
        if count:
            self._references[pfn] = count
        else:
            self._references.pop(pfn, None)

    def _require_taken(self, pfn: int) -> None:
        if not self.holds(pfn) or not self.cleancache.taken(self.pool, pfn, 1):
            raise AreaError(f"area {self.name}: page {pfn:#x} is not handed out, so nobody can refer to it")
