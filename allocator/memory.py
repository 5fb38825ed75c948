"""The bytes of physical memory, page by page.

A `PhysicalMemory` is a view: of ordinary memory in unit tests, of the guest's RAM file on the board. It
copies; it decides nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from allocator.compiled import Longs, Rows, compiled
from allocator.error import PageError

__all__ = ["PAGE_SHIFT", "PAGE_SIZE", "PageBytes", "PhysicalMemory", "page_rows"]

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT

RUN: Final = 8
"""Runs of neighbouring pages shorter than this, on average, are copied as scattered pages: one call for
all.
"""
OUTSIDE: Final = -1
SCATTERED: Final = -2

PageBytes = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
"""Bytes of whole pages, contiguous."""


class PhysicalMemory:
    """Physical memory from `base` on.

    ram    uint8, one dimension, contiguous, a whole number of pages; it is used in place
    base   physical address of `ram[0]` in bytes

    Raises PageError when `ram` or `base` is not made of whole pages.
    """

    __slots__ = ("_bytes", "_words", "base_pfn", "count", "ram")

    def __init__(self, ram: npt.NDArray[np.uint8], base: int = 0) -> None:
        # A subclass such as numpy.memmap pays its Python hooks on every slice.
        ram = np.asarray(ram)
        if ram.dtype != np.uint8 or ram.ndim != 1 or not ram.flags.c_contiguous:
            raise PageError(f"memory must be one row of bytes, got {ram.dtype} of shape {ram.shape}")
        if not ram.flags.writeable:
            raise PageError("memory must be writable: pages are put into it")
        if base % PAGE_SIZE or ram.size % PAGE_SIZE:
            raise PageError(
                f"memory at {base:#x} of {ram.size:#x} bytes is not made of whole pages "
                f"of {PAGE_SIZE} bytes: align both"
            )
        self.ram = ram
        self.base_pfn = base >> PAGE_SHIFT
        self.count = ram.size >> PAGE_SHIFT
        self._bytes = ram.data
        # Copies of 64-bit words are twice as fast as copies of bytes where numpy gathers rows.
        self._words = ram.view(np.uint64).reshape(-1, PAGE_SIZE // 8)

    @property
    def end_pfn(self) -> int:
        """The first page behind this memory."""
        return self.base_pfn + self.count

    def holds(self, pfn: int, count: int = 1) -> bool:
        """Whether pages [pfn, pfn + count) are all here."""
        return self.base_pfn <= pfn and count >= 0 and pfn + count <= self.end_pfn

    def view(self, pfn: int, count: int = 1) -> npt.NDArray[np.uint8]:
        """The bytes of pages [pfn, pfn + count), in place.

        Raises PageError when they are not all here.
        """
        if not self.holds(pfn, count):
            raise PageError(
                f"pages [{pfn:#x}, {pfn + count:#x}) lie outside memory, "
                f"which has pages [{self.base_pfn:#x}, {self.end_pfn:#x})"
            )
        start = (pfn - self.base_pfn) << PAGE_SHIFT
        return self.ram[start : start + (count << PAGE_SHIFT)]

    def write(self, pfn: int, data: PageBytes) -> None:
        """Copy one page in. The caller has checked that `pfn` is here.

        Raises PageError when `data` is not one page of bytes.
        """
        start = (pfn - self.base_pfn) << PAGE_SHIFT
        try:
            # numpy's stubs declare the buffer protocol from Python 3.12 on only.
            self._bytes[start : start + PAGE_SIZE] = data  # type: ignore[assignment]
        except (ValueError, TypeError) as error:
            raise PageError(f"page data must be {PAGE_SIZE} contiguous bytes: {error}") from error

    def read(self, pfn: int, out: bytearray | memoryview | npt.NDArray[np.uint8]) -> None:
        """Copy one page out. The caller has checked that `pfn` is here.

        Raises PageError when `out` is not one writable page.
        """
        start = (pfn - self.base_pfn) << PAGE_SHIFT
        try:
            memoryview(out)[:] = self._bytes[start : start + PAGE_SIZE]  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise PageError(f"a page is read into {PAGE_SIZE} contiguous writable bytes: {error}") from error

    def write_pages(self, pfns: Longs, data: npt.NDArray[np.uint8]) -> None:
        """Copy page `i` of `data` to `pfns[i]`; a negative pfn is left out, the last of equal ones wins.

        Raises PageError when `data` is not one page for each pfn, or a pfn lies outside.
        """
        source = page_rows(data, len(pfns))
        runs = self._runs(pfns)
        if runs is None:
            at, rows = self._present(pfns)
            self._words[rows] = source if len(at) == len(pfns) else source[at]
            return
        for first, length, pages in runs:
            self._words[pages] = source[first : first + length]

    def read_pages(self, pfns: Longs, out: npt.NDArray[np.uint8]) -> None:
        """Copy the page at `pfns[i]` to page `i` of `out`; a negative pfn leaves its page of `out` as it is.

        Raises PageError when `out` is not one writable page for each pfn, or a pfn lies outside.
        """
        target = page_rows(out, len(pfns))
        if not target.flags.writeable:
            raise PageError("pages are read into memory that is read-only: pass an array that can be written")
        runs = self._runs(pfns)
        if runs is None:
            at, rows = self._present(pfns)
            if len(at) == len(pfns):
                # The bounds are checked; mode="raise" would copy through a buffer.
                np.take(self._words, rows, axis=0, out=target, mode="clip")
            else:
                target[at] = self._words[rows]
            return
        for first, length, pages in runs:
            target[first : first + length] = self._words[pages]

    def _runs(self, pfns: Longs) -> list[tuple[int, int, slice]] | None:
        """The pages cut into runs of neighbours: first position, length, rows of memory. None when they are
        too scattered for that to pay.
        """
        found: Rows = np.empty((len(pfns) // RUN + 1, 3), np.int64)
        count = cut(pfns, self.base_pfn, self.count, found)
        if count == OUTSIDE:
            raise PageError(
                f"pfns from {int(pfns[pfns >= 0].min()):#x} to {int(pfns.max()):#x} lie outside memory, "
                f"which has pages [{self.base_pfn:#x}, {self.end_pfn:#x})"
            )
        if count == SCATTERED:
            return None
        return [(first, abs(pages), _slice(row, pages)) for first, row, pages in found[:count].tolist()]

    def _present(self, pfns: Longs) -> tuple[Longs, Longs]:
        """Which of `pfns` are not negative, and their rows of memory."""
        at = np.flatnonzero(pfns >= 0)
        return at, pfns[at] - self.base_pfn


def page_rows(data: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint64]:
    """`data`, which is `count` pages, as one row of 64-bit words for each page, in place.

    Raises PageError when it is anything else.
    """
    if data.dtype != np.uint8 or not data.flags.c_contiguous or data.size != count * PAGE_SIZE:
        raise PageError(
            f"{count} pages are {count * PAGE_SIZE} contiguous bytes, "
            f"got shape {data.shape} of {data.dtype}: pass a whole array"
        )
    return data.reshape(-1).view(np.uint64).reshape(count, PAGE_SIZE // 8)


def _slice(row: int, pages: int) -> slice:
    """The rows of a run, which goes down when `pages` is negative."""
    end = row + pages
    return slice(row, end if end >= 0 else None, 1 if pages > 0 else -1)


@compiled
def cut(pfns: Longs, base_pfn: int, count: int, runs: Rows) -> int:
    """Cut pages into runs that go up or down by one, leaving out negative pfns; how many runs there are.

    A row of `runs` becomes a run's first position in `pfns`, its first page's distance from `base_pfn`, and
    its number of pages, negative when it goes down. Returns OUTSIDE when a page is not one of the `count`
    from `base_pfn` on, SCATTERED when there are more runs than rows.
    """
    found = 0
    length = 0
    for each in range(len(pfns)):
        pfn = int(pfns[each])
        if pfn < 0:
            length = 0
            continue
        if pfn < base_pfn or pfn >= base_pfn + count:
            return OUTSIDE
        move = pfn - int(pfns[each - 1]) if length != 0 else 0
        if move == 1 and length > 0:
            length += 1
        elif move == -1 and length <= 1:
            length = -2 if length == 1 else length - 1
        else:
            length = 1
            found += 1
            if found <= len(runs):
                runs[found - 1, 0], runs[found - 1, 1] = each, pfn - base_pfn
        if found <= len(runs):
            runs[found - 1, 2] = length
    return found if found <= len(runs) else SCATTERED
