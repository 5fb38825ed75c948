"""A range of addresses."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """``size`` bytes from ``base``; a size of 0 holds nothing."""

    base: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind the range."""
        return self.base + self.size

    @property
    def last(self) -> int:
        """The highest address inside the range."""
        return self.base + self.size - 1

    def overlaps(self, other: Range) -> bool:
        """Whether the two share at least one byte."""
        return self.base < other.end and other.base < self.end and self.size > 0 and other.size > 0

    def holds(self, other: Range) -> bool:
        """Whether ``other`` lies wholly inside."""
        return self.base <= other.base and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.base:#x}..{self.last:#x}" if self.size else f"{self.base:#x} (size 0)"


class RangeSet:
    """A set of addresses as disjoint ascending ranges; ranges that touch are joined."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for item in ranges:
            self.add(item)

    def add(self, item: Range) -> None:
        """Put all addresses of the range into the set."""
        if not item.size:
            return
        first = bisect_left(self._ends, item.base)
        behind = bisect_right(self._starts, item.end)
        start, end = item.base, item.end
        if first < behind:
            start = min(start, self._starts[first])
            end = max(end, self._ends[behind - 1])
        self._starts[first:behind] = [start]
        self._ends[first:behind] = [end]

    def discard(self, item: Range) -> None:
        """Take all addresses of the range out of the set, whether they are in it or not."""
        first = bisect_right(self._ends, item.base)
        behind = bisect_left(self._starts, item.end)
        if not item.size or first >= behind:
            return
        left = self._starts[first], item.base
        right = item.end, self._ends[behind - 1]
        rest = [part for part in (left, right) if part[0] < part[1]]
        self._starts[first:behind] = [start for start, _ in rest]
        self._ends[first:behind] = [end for _, end in rest]

    def overlaps(self, item: Range) -> bool:
        """Whether any address of the range is in the set."""
        first = bisect_right(self._ends, item.base)
        return item.size > 0 and first < len(self._starts) and self._starts[first] < item.end

    def holds(self, item: Range) -> bool:
        """Whether all addresses of the range are in the set."""
        first = bisect_right(self._ends, item.base)
        return item.size == 0 or (
            first < len(self._starts) and self._starts[first] <= item.base and item.end <= self._ends[first]
        )

    def __iter__(self) -> Iterator[Range]:
        return (Range(start, end - start) for start, end in zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)


def without(ranges: Iterable[Range], *holes: Iterable[Range]) -> RangeSet:
    """The addresses of ``ranges`` that lie in none of the holes."""
    out = RangeSet(ranges)
    for group in holes:
        for hole in group:
            out.discard(hole)
    return out


def size_text(size_bytes: int) -> str:
    """A size in the largest unit that divides it, as ``64 MiB``; bytes when none does."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift} {unit}"
    return f"{size_bytes:#x} bytes" if size_bytes >= 10_000 else f"{size_bytes} bytes"
