"""CMA as it is: an area whose free pages hold movable pages, which an allocation must get out of the way.

The search is `ContiguousArea`'s; `allocator.cma_steps` has the rules of a claim, and their sources.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from enum import Enum

import numpy as np

from allocator import cma_steps as steps
from allocator.area import ContiguousArea, SecondClass
from allocator.compiled import Bytes, Longs
from allocator.costs import EVENTS, REQUESTS, CmaEvents
from allocator.error import AreaError

__all__ = ["CmaArea", "CmaEvents", "Tenant"]


class Tenant(Enum):
    """What a page of the area is used for while no device has it, and so what getting it out of the way
    takes.
    """

    CLEAN_FILE = "clean file page: dropped"
    DIRTY_FILE = "dirty file page: written back, then copied elsewhere"
    ANONYMOUS = "anonymous page: copied elsewhere"

    @property
    def code(self) -> int:
        """What the steps call it."""
        return {
            Tenant.CLEAN_FILE: steps.CLEAN_FILE,
            Tenant.DIRTY_FILE: steps.DIRTY_FILE,
            Tenant.ANONYMOUS: steps.ANONYMOUS,
        }[self]


_TENANTS = {tenant.code: tenant for tenant in Tenant}


class CmaArea(ContiguousArea):
    """An area that lends its free pages to anybody whose pages can move.

    clear    called for each page that has to go, with its pfn and tenant; False when there is no memory to
             move it to. None: there always is
    """

    second_class = SecondClass.RECLAIMABLE

    def __init__(
        self,
        name: str,
        base_pfn: int,
        count: int,
        *,
        checked: bool = True,
        clear: Callable[[int, Tenant], bool] | None = None,
    ) -> None:
        super().__init__(name, base_pfn, count, checked=checked)
        self.clear = clear
        self._tenants: Bytes = np.zeros(count, np.uint8)
        self._events: Longs = np.zeros(EVENTS, np.int64)

    @property
    def events(self) -> CmaEvents:
        """What allocations did so far."""
        return CmaEvents(*self._events.tolist())

    def settle(self, pfn: int, tenant: Tenant, count: int = 1) -> None:
        """Use pages that no device has, or use them for something else.

        Raises AreaError when a device has one, or it is not of this area.
        """
        bit = pfn - self.base_pfn
        with self.lock:
            if not self.holds(pfn, count) or not self._lendable(bit, count):
                raise AreaError(
                    f"area {self.name}: a page of [{pfn:#x}, {pfn + count:#x}) is a device's "
                    "or of another area: use free ones"
                )
            pages = self._tenants[bit : bit + count]
            pages[:] = pages & steps.PINNED | tenant.code

    def leave(self, pfn: int) -> None:
        """End the use of a page, and any pin of it."""
        with self.lock:
            if self.holds(pfn):
                self._tenants[pfn - self.base_pfn] = steps.NOBODY

    def tenant(self, pfn: int) -> Tenant | None:
        """What a page is used for."""
        if not self.holds(pfn):
            return None
        return _TENANTS.get(int(self._tenants[pfn - self.base_pfn]) & ~steps.PINNED)

    def pin(self, pfn: int, count: int = 1) -> None:
        """Pin a page in use, or all `count` of a large folio, as I/O on it does for a while (without
        FOLL_LONGTERM, which would move it out first).

        Raises AreaError when a page is not in use.
        """
        with self.lock:
            for each in range(pfn, pfn + count):
                if self.tenant(each) is None:
                    raise AreaError(f"area {self.name}: page {each:#x} is not in use, so nobody can pin it")
            bit = pfn - self.base_pfn
            self._tenants[bit : bit + count] |= steps.PINNED

    def unpin(self, pfn: int, count: int = 1) -> None:
        """Unpin a page, or the `count` pages of a large folio."""
        with self.lock:
            if self.holds(pfn, count):
                bit = pfn - self.base_pfn
                self._tenants[bit : bit + count] &= ~np.uint8(steps.PINNED)

    def cma_alloc(self, count: int, align: int = 0) -> int:
        """As `ContiguousArea.cma_alloc`; counted."""
        with self.lock:
            self._events[REQUESTS] += 1
            return super().cma_alloc(count, align)

    def _lendable(self, bit: int, count: int) -> bool:
        """Whether no device has any of the pages. A claim under way has marked its range; what is still in
        use there is nobody else's yet.
        """
        return self.runs.find(count, start=bit) == bit or bool(self._tenants[bit : bit + count].all())

    def _claim(self, pfn: int, count: int) -> int:
        """Empty the range as far as it goes; what has moved when it turns out busy stays moved."""
        claim = np.zeros(steps.CLAIM_LONGS, np.int64)
        page = pfn - self.base_pfn
        stop = page + count
        while page < stop:
            page = steps.isolate(self._tenants, page, stop, claim)
            chosen = int(claim[steps.COUNT])
            cleared = chosen if self.clear is None else self._cleared(claim, self.clear)
            steps.vacate(self._tenants, claim, cleared, self._events)
            if cleared < chosen:
                return errno.ENOMEM
        return steps.conclude(claim, count, self._events)

    def _cleared(self, claim: Longs, clear: Callable[[int, Tenant], bool]) -> int:
        """How many pages of a batch could be cleared before memory ran out."""
        chosen = claim[steps.PAGES : steps.PAGES + claim[steps.COUNT]].tolist()
        for done, page in enumerate(chosen):
            # Clearing one page may have reclaimed another.
            tenant = self.tenant(self.base_pfn + page)
            if tenant is not None and not clear(self.base_pfn + page, tenant):
                return done
        return len(chosen)

    def _surrender(self, pfn: int, count: int) -> int:
        return 0
