"""Contiguous areas behind the kernel's CMA calls: a client cannot tell which kind it has.

`ContiguousArea` keeps the bitmap and the rules of `cma_alloc` and `cma_release` (mm/cma.c of Linux 7.3);
the kinds differ in what they do to claim pages that the bitmap shows free.
"""

from __future__ import annotations

import errno
import threading
from abc import ABC, abstractmethod
from enum import Enum
from typing import Final

from allocator.error import AreaError, CmaAllocError, CmaReleaseError
from allocator.runs import Runs

__all__ = ["CarveOut", "ContiguousArea", "SecondClass"]

PAGES_MAX: Final = 1 << 26
"""Looked at before memory is taken: the bitmap of such an area and its tree need 32 MiB."""

MAX_ALIGN: Final = 40
"""Largest alignment order that is taken seriously: 4 PiB."""


class SecondClass(Enum):
    """Who may use an area's pages while no device does (M. Hocko's per-area policy, linux-mm, 2015)."""

    NONE = "none"
    """Nobody: a carve-out."""
    DROPPABLE = "droppable"
    """Data that can be dropped at any moment: guaranteed CMA."""
    RECLAIMABLE = "reclaimable"
    """Movable pages: CMA."""


class ContiguousArea(ABC):
    """An area of `count` pages from `base_pfn` on, handed out in contiguous runs.

    name              as in /sys/kernel/mm/cma
    available_count   pages that no device holds
    checked           releases must name one whole allocation; otherwise they do what the kernel does
    runs              the bitmap: a bit is set while a device holds the page
    """

    second_class: SecondClass

    def __init__(self, name: str, base_pfn: int, count: int, *, checked: bool = True) -> None:
        if count < 1 or base_pfn < 0:
            raise AreaError(f"area {name!r} of {count} pages at pfn {base_pfn:#x} is empty or misplaced")
        if count > PAGES_MAX:
            raise AreaError(f"area {name!r} of {count} pages is too large: the most is {PAGES_MAX} (256 GiB)")
        self.name = name
        self.base_pfn = base_pfn
        self.count = count
        self.available_count = count
        self.checked = checked
        self.runs = Runs(count)
        self.lock = threading.RLock()
        self.allocations: dict[int, int] = {}
        self._pages_success = 0
        self._pages_fail = 0
        self._pages_released = 0

    def cma_alloc(self, count: int, align: int = 0) -> int:
        """Hand out `count` contiguous pages, the first a multiple of 2^align; the first pfn.

        First fit. Where claiming the run found reports EBUSY the search goes on at the next aligned place, as
        `cma_range_alloc` does; any other error ends it.

        Raises CmaAllocError.
        """
        # `replay_steps._allocate` has this loop as a step: `_claim` calls back here, which no step can.
        if not 0 <= align <= MAX_ALIGN:
            raise AreaError(
                f"area {self.name}: alignment order {align} is out of range: use 0 to {MAX_ALIGN}"
            )
        if count < 1:
            raise AreaError(
                f"area {self.name}: a request for {count} pages makes no sense: ask for at least 1"
            )
        mask = (1 << align) - 1
        offset = self.base_pfn & mask
        start = 0
        with self.lock:
            failure = errno.EBUSY
            while count <= self.available_count:
                bit = self.runs.find(count, mask, offset, start)
                if bit < 0:
                    break
                self.runs.mark(bit, count)
                self.available_count -= count
                pfn = self.base_pfn + bit
                failure = self._claim(pfn, count)
                if not failure:
                    self.allocations[pfn] = count
                    self._pages_success += count
                    return pfn
                self.runs.clear(bit, count)
                self.available_count += count
                if failure != errno.EBUSY:
                    break
                start = bit + mask + 1
            self._pages_fail += count
        raise CmaAllocError(self.name, count, failure)

    def cma_release(self, pfn: int, count: int) -> bool:
        """Take back pages that `cma_alloc` handed out; False when they are not of this area and releases
        are unchecked.

        Raises CmaReleaseError when releases are checked and [pfn, pfn + count) is not one whole
        allocation, or its pages are still referenced; nothing changes then.
        """
        with self.lock:
            if self.checked and self.allocations.get(pfn) != count:
                raise CmaReleaseError(self._why_not(pfn, count))
            if count < 1 or pfn < self.base_pfn or pfn + count > self.base_pfn + self.count:
                return False
            failure = self._surrender(pfn, count)
            if failure and self._refuses(failure):
                raise CmaReleaseError(
                    f"area {self.name}: pages [{pfn:#x}, {pfn + count:#x}) are still referenced: "
                    "drop the references first"
                )
            self.allocations.pop(pfn, None)
            self.runs.clear(pfn - self.base_pfn, count)
            self.available_count += count
            self._pages_released += count
            return True

    def holds(self, pfn: int, count: int = 1) -> bool:
        """Whether pages [pfn, pfn + count) all lie in this area."""
        return self.base_pfn <= pfn and pfn + count <= self.base_pfn + self.count

    def sysfs(self) -> dict[str, int]:
        """The files of /sys/kernel/mm/cma/<name>."""
        with self.lock:
            return {
                "alloc_pages_success": self._pages_success,
                "alloc_pages_fail": self._pages_fail,
                "release_pages_success": self._pages_released,
                "total_pages": self.count,
                "available_pages": self.available_count,
                "gcma": int(self.second_class is SecondClass.DROPPABLE),
            }

    def _refuses(self, failure: int) -> bool:
        """Whether a release whose pages cannot be put to use is refused; the kernel carries on."""
        return True

    @abstractmethod
    def _claim(self, pfn: int, count: int) -> int:
        """Make pages, just marked taken, ready for a device; 0 or a positive errno."""

    @abstractmethod
    def _surrender(self, pfn: int, count: int) -> int:
        """Put pages, about to be marked free, to their second use; 0 or a positive errno."""

    def _why_not(self, pfn: int, count: int) -> str:
        """Why [pfn, pfn + count) cannot be released, as a sentence."""
        what = f"area {self.name}: cannot release pages [{pfn:#x}, {pfn + count:#x}): "
        held = self.allocations.get(pfn)
        if held is not None:
            return what + f"the allocation there has {held} pages: release all of it at once"
        if not self.holds(pfn, max(count, 1)):
            end = self.base_pfn + self.count
            return (
                what + f"the area has pages [{self.base_pfn:#x}, {end:#x}): release them where they came from"
            )
        return what + "no allocation begins there: it was released already or never made"


class CarveOut(ContiguousArea):
    """Memory set aside for devices alone: never fails on its content, never of use to anybody else."""

    second_class = SecondClass.NONE

    def _claim(self, pfn: int, count: int) -> int:
        return 0

    def _surrender(self, pfn: int, count: int) -> int:
        return 0
