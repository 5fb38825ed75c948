"""CMA as it is: an area whose free pages hold movable pages, which an allocation must get out of the way.

Source: `cma_range_alloc` (mm/cma.c), `alloc_contig_frozen_range` and `__alloc_contig_migrate_range`
(mm/page_alloc.c) of Linux 7.3.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from allocator.area import ContiguousArea, SecondClass
from allocator.error import AreaError

__all__ = ["CmaArea", "CmaEvents", "Tenant"]

BATCH: Final = 32
"""Pages that are isolated and migrated together (COMPACT_CLUSTER_MAX)."""
TRIES: Final = 5
"""How often migration of a batch is tried before the range counts as busy."""


class Tenant(Enum):
    """What a page of the area is used for while no device has it, and so what getting it out of the way
    takes.
    """

    CLEAN_FILE = "clean file page: dropped"
    DIRTY_FILE = "dirty file page: written back, then copied elsewhere"
    ANONYMOUS = "anonymous page: copied elsewhere"


@dataclass(slots=True)
class CmaEvents:
    """What allocations did so far.

    requests       calls of cma_alloc
    isolated       pages of ranges that were claimed, whether or not in use
    dropped        clean file pages
    migrated       pages copied elsewhere
    written_back   dirty pages written to disk first
    tries          attempts to migrate batches with a pinned page
    busy           pages of ranges given up as busy
    retries        ranges given up as busy
    """

    requests: int = 0
    isolated: int = 0
    dropped: int = 0
    migrated: int = 0
    written_back: int = 0
    tries: int = 0
    busy: int = 0
    retries: int = 0


class CmaArea(ContiguousArea):
    """An area that lends its free pages to anybody whose pages can move.

    clear    called for each page that has to go, with its pfn and tenant; False when there is no memory to
             move it to. None: there always is
    events   what allocations did
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
        self.events = CmaEvents()
        self.clear = clear
        self._tenants: dict[int, Tenant] = {}
        self._pinned: set[int] = set()

    def settle(self, pfn: int, tenant: Tenant, count: int = 1) -> None:
        """Use pages that no device has, or use them for something else.

        Raises AreaError when a device has one, or it is not of this area.
        """
        bit = pfn - self.base_pfn
        with self.lock:
            if not self.holds(pfn, count) or self.runs.find(count, start=bit) != bit:
                raise AreaError(
                    f"area {self.name}: a page of [{pfn:#x}, {pfn + count:#x}) is a device's "
                    "or of another area: use free ones"
                )
            self._tenants.update(dict.fromkeys(range(pfn, pfn + count), tenant))

    def leave(self, pfn: int) -> None:
        """End the use of a page, and any pin of it."""
        with self.lock:
            self._tenants.pop(pfn, None)
            self._pinned.discard(pfn)

    def tenant(self, pfn: int) -> Tenant | None:
        """What a page is used for."""
        return self._tenants.get(pfn)

    def pin(self, pfn: int) -> None:
        """Pin a page in use, as I/O on it does for a while (without FOLL_LONGTERM, which would move it out
        first).

        Raises AreaError when the page is not in use.
        """
        with self.lock:
            if pfn not in self._tenants:
                raise AreaError(f"area {self.name}: page {pfn:#x} is not in use, so nobody can pin it")
            self._pinned.add(pfn)

    def unpin(self, pfn: int) -> None:
        """Unpin a page."""
        with self.lock:
            self._pinned.discard(pfn)

    def cma_alloc(self, count: int, align: int = 0) -> int:
        """As `ContiguousArea.cma_alloc`; counted."""
        with self.lock:
            self.events.requests += 1
            return super().cma_alloc(count, align)

    def _claim(self, pfn: int, count: int) -> int:
        """Empty the range, batch by batch; what has moved when a pinned page turns up stays moved."""
        events = self.events
        for start in range(pfn, pfn + count, BATCH):
            batch = range(start, min(start + BATCH, pfn + count))
            stuck = False
            for each in batch:
                tenant = self._tenants.get(each)
                if tenant is None:
                    continue
                if each in self._pinned:
                    stuck = True
                    continue
                if self.clear is not None and not self.clear(each, tenant):
                    return errno.ENOMEM
                self._tenants.pop(each, None)
                events.dropped += tenant is Tenant.CLEAN_FILE
                events.written_back += tenant is Tenant.DIRTY_FILE
                events.migrated += tenant is not Tenant.CLEAN_FILE
            if stuck:
                events.tries += TRIES
                events.busy += count
                events.retries += 1
                return errno.EBUSY
        events.isolated += count
        return 0

    def _surrender(self, pfn: int, count: int) -> int:
        return 0
