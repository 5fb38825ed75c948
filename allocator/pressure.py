"""A machine short of memory: which pages stay, which go, and what a contiguous request does to the rest of
the system.

The kernel's LRU lists (mm/vmscan.c, mm/swap.c) and its refault distance (mm/workingset.c) decide which
page leaves; the page cache's hooks and the area decide what becomes of it. One page at a time, every byte
real: `gcma replay` is for long traces.

Simplified: one zone, one node, no memory cgroups; a clean file page goes before an anonymous one as long
as file pages are more than `FILE_FLOOR` of memory (the kernel weighs refault costs); dirty pages are
written when reclaim meets them or when they are more than `DIRTY_SHARE` of memory.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from allocator.area import ContiguousArea, SecondClass
from allocator.cma import CmaArea, Tenant
from allocator.costs import COSTS_2015, CmaEvents, Costs
from allocator.error import AllocatorError, CmaAllocError
from allocator.pagecache import Filesystem, Folio, Inode, PageCache

__all__ = ["Anonymous", "Rest", "System"]

FILE_FLOOR: Final = 1 / 16
DIRTY_SHARE: Final = 1 / 10
WINDOW_FIRST: Final = 4
WINDOW_MOST: Final = 32
"""Readahead: 16 KiB at first, 128 KiB at most (VM_READAHEAD_PAGES)."""


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A page of anonymous memory."""

    number: int


Page = Folio | Anonymous


@dataclass(slots=True)
class Rest:
    """What the rest of the system paid, in pages, and the modelled time of each contiguous request.

    refaults     file pages read again within the workingset distance
    swapped_out  anonymous pages written to swap
    swapped_in   and read back
    requests_ns  time of each request that succeeded
    failed       requests that did not
    """

    refaults: int = 0
    swapped_out: int = 0
    swapped_in: int = 0
    requests_ns: list[float] = field(default_factory=list)
    failed: int = 0


class _Lru:
    """An active and an inactive list; the newest page last."""

    def __init__(self) -> None:
        self.active: OrderedDict[Page, bool] = OrderedDict()
        self.inactive: OrderedDict[Page, bool] = OrderedDict()

    def __len__(self) -> int:
        return len(self.active) + len(self.inactive)

    def add(self, page: Page, active: bool = False) -> None:
        (self.active if active else self.inactive)[page] = False

    def drop(self, page: Page) -> None:
        self.active.pop(page, None)
        self.inactive.pop(page, None)

    def access(self, page: Page) -> bool:
        """`folio_mark_accessed`: the second use activates; whether it did."""
        if page in self.active:
            self.active[page] = True
        elif self.inactive.pop(page):
            self.active[page] = False
            return True
        else:
            # Used once: it keeps its place and remembers.
            self.inactive[page] = True
        return False


class System:
    """`memory_pages` of ordinary memory, and what `area` lends.

    page_cache   with a cleancache if the area is guaranteed
    rest         what was paid
    """

    def __init__(
        self,
        memory_pages: int,
        page_cache: PageCache,
        area: ContiguousArea,
        costs: Costs = COSTS_2015,
    ) -> None:
        self.memory_pages = memory_pages
        self.page_cache = page_cache
        self.area = area
        self.rest = Rest()
        self._costs = {
            SecondClass.NONE: costs.carveout,
            SecondClass.DROPPABLE: costs.guaranteed,
            SecondClass.RECLAIMABLE: costs.cma,
        }[area.second_class]
        self._file = _Lru()
        self._anon = _Lru()
        self._swapped: set[Anonymous] = set()
        self._fs: dict[Inode, Filesystem] = {}
        self._shadows: dict[tuple[int, int], tuple[int, bool]] = {}
        self._age = 0
        self._ordinary = 0
        self._lent: dict[Page, int] = {}
        self._lodger: dict[int, Page] = {}
        # Pages of the area that nobody has. What was freed last is used first.
        self._free_lent: dict[int, None] = {}
        self._lend(area.base_pfn, area.count)
        self._dirty: dict[Folio, None] = {}
        self._windows: dict[Inode, tuple[int, int]] = {}
        if isinstance(area, CmaArea):
            area.clear = self._make_way

    # What programs do

    def read(self, fs: Filesystem, inode: Inode, index: int) -> bytes:
        """Read a page of a file, with readahead when reading goes on where it stopped."""
        self._fs[inode] = fs
        folio = inode.folios.get(index)
        if folio is not None:
            if self._file.access(folio):
                self._age += 1
            return self.page_cache.read(fs, inode, index)
        if index >= inode.file.size:
            return b""
        expected, window = self._windows.get(inode, (0, WINDOW_FIRST // 2))
        window = min(2 * window, WINDOW_MOST) if index == expected else 1
        window = next((at for at in range(1, window) if index + at in inode.folios), window)
        window = min(window, inode.file.size - index)
        self._windows[inode] = (index + window, max(window, WINDOW_FIRST // 2))
        for _ in range(window):
            self._make_room()
        self.page_cache.readahead(fs, inode, index, window)
        for at in range(index, index + window):
            self._enter(inode.folios[at])
        return inode.folios[index].content[0]

    def write(self, fs: Filesystem, inode: Inode, index: int, version: int) -> None:
        """Write a page of a file."""
        self._fs[inode] = fs
        if index not in inode.folios:
            self._make_room()
            self.page_cache.write(inode, index, version)
            self._enter(inode.folios[index])
        else:
            self.page_cache.write(inode, index, version)
        folio = inode.folios[index]
        self._settle(folio)
        self._dirty[folio] = None
        if len(self._dirty) > DIRTY_SHARE * self.memory_pages:
            for each in list(self._dirty):
                self._clean(each)

    def touch(self, number: int) -> None:
        """Use a page of anonymous memory."""
        page = Anonymous(number)
        if page in self._anon.active or page in self._anon.inactive:
            self._anon.access(page)
            return
        self._make_room()
        if page in self._swapped:
            self._swapped.discard(page)
            self.rest.swapped_in += 1
        self._place(page)
        self._anon.add(page)

    def request(self, count: int, align: int = 0) -> int | None:
        """A contiguous request of a device; the first pfn, or None."""
        before = self._events(0)
        try:
            pfn = self.area.cma_alloc(count, align)
        except CmaAllocError:
            self.rest.failed += 1
            return None
        for page in range(pfn, pfn + count):
            self._free_lent.pop(page, None)
        spent = self._events(count) - before
        self.rest.requests_ns.append(self._costs.time_ns(spent))
        return pfn

    def release(self, pfn: int, count: int) -> None:
        """A device gives its buffer back."""
        self.area.cma_release(pfn, count)
        self._lend(pfn, count)

    # Who stays

    def _enter(self, folio: Folio) -> None:
        """Put a page just read on a list, as `workingset_refault` says."""
        self._place(folio)
        shadow = self._shadows.pop((folio.inode.file.ino, folio.index), None)
        recent = False
        if shadow is not None:
            age, was_workingset = shadow
            recent = self._age - age <= len(self._file.active) + len(self._anon)
            if recent:
                self._age += 1
                self.rest.refaults += 1
                folio.workingset = was_workingset
        self._file.add(folio, active=recent)

    def _make_room(self) -> None:
        """Reclaim until a page is free."""
        while not self._has_room():
            self._reclaim_one()

    def _has_room(self) -> bool:
        return self._ordinary < self.memory_pages or self._peek_lent() is not None

    def _reclaim_one(self) -> None:
        """Let one page go (`shrink_lruvec`)."""
        if len(self._file) > FILE_FLOOR * self.memory_pages or not len(self._anon):
            # inactive_is_low: the lists are kept of equal length; who leaves the active one is of the
            # workingset.
            while len(self._file.active) > len(self._file.inactive):
                page, _ = self._file.active.popitem(last=False)
                if isinstance(page, Folio):
                    page.workingset = True
                self._file.inactive[page] = False
            if not self._file.inactive:
                raise AllocatorError(
                    f"memory of {self.memory_pages} pages is too small: nothing is left to reclaim"
                )
            page = next(iter(self._file.inactive))
            if isinstance(page, Folio):
                self._evict(page)
            return
        while len(self._anon.active) > len(self._anon.inactive):
            page, _ = self._anon.active.popitem(last=False)
            self._anon.inactive[page] = False
        page, _ = self._anon.inactive.popitem(last=False)
        if isinstance(page, Anonymous):
            self._swapped.add(page)
        self.rest.swapped_out += 1
        self._unplace(page)

    def _evict(self, folio: Folio) -> None:
        if folio.dirty:
            for each in folio.inode.each_folio():
                self._clean(each)
        self._age += 1
        self._shadows[folio.inode.file.ino, folio.index] = (self._age, folio.workingset)
        self._file.drop(folio)
        self._unplace(folio)
        self.page_cache.reclaim(self._fs[folio.inode], folio)

    def _clean(self, folio: Folio) -> None:
        self.page_cache.writeback_folio(folio)
        self._dirty.pop(folio, None)
        self._settle(folio)

    # Where pages lie

    def _place(self, page: Page) -> None:
        """Give a page memory: the area's while more than half of what is free is there (`__rmqueue`), or
        all of it.
        """
        lent = self._peek_lent()
        ordinary = self.memory_pages - self._ordinary
        if lent is not None and (ordinary == 0 or len(self._free_lent) > ordinary):
            del self._free_lent[lent]
            self._lent[page] = lent
            self._lodger[lent] = page
            self._settle(page)
        else:
            self._ordinary += 1

    def _unplace(self, page: Page) -> None:
        pfn = self._lent.pop(page, None)
        if pfn is None:
            self._ordinary -= 1
            return
        del self._lodger[pfn]
        if isinstance(self.area, CmaArea):
            self.area.leave(pfn)
        self._lend(pfn)

    def _lend(self, pfn: int, count: int = 1) -> None:
        """Pages of the area are free, the lowest to be used first."""
        self._free_lent |= dict.fromkeys(range(pfn + count - 1, pfn - 1, -1))

    def _settle(self, page: Page) -> None:
        """Tell the area what a page that it lends is used for."""
        pfn = self._lent.get(page)
        if pfn is None or not isinstance(self.area, CmaArea):
            return
        if isinstance(page, Anonymous):
            self.area.settle(pfn, Tenant.ANONYMOUS)
        else:
            self.area.settle(pfn, Tenant.DIRTY_FILE if page.dirty else Tenant.CLEAN_FILE)

    def _peek_lent(self) -> int | None:
        """The page of a CMA area to be lent next, if one is free."""
        return next(reversed(self._free_lent), None) if isinstance(self.area, CmaArea) else None

    def _make_way(self, pfn: int, tenant: Tenant) -> bool:
        """Get a page out of the way of a CMA request: drop it, or move it to ordinary memory."""
        page = self._lodger[pfn]
        if tenant is Tenant.CLEAN_FILE and isinstance(page, Folio):
            self._move_out(pfn)
            self._evict(page)
            return True
        for _ in range(self.memory_pages):
            if self._ordinary < self.memory_pages or pfn not in self._lodger:
                break
            self._reclaim_one()
        if pfn not in self._lodger:
            return True
        if self._ordinary == self.memory_pages:
            return False
        self._move_out(pfn)
        if isinstance(page, Folio):
            self._clean(page)
        return True

    def _move_out(self, pfn: int) -> None:
        """Count a page as ordinary memory's. What it was for the area stays: the claim that it is in the way
        of counts it by that. Should the claim fail, its place is free.
        """
        del self._lent[self._lodger.pop(pfn)]
        self._lend(pfn)
        self._ordinary += 1

    def _events(self, granted: int) -> CmaEvents:
        """What requests did so far, with `granted` pages for a request that just succeeded, or 0."""
        if isinstance(self.area, CmaArea):
            return self.area.events
        recalled = self.page_cache.cleancache.counters.recalled if self.page_cache.cleancache else 0
        return CmaEvents(requests=bool(granted), isolated=granted, dropped=recalled)
