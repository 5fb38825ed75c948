"""Who uses which part of an area: for pictures, and for the text of a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from allocator import frames as layout
from allocator.area import ContiguousArea
from allocator.guaranteed import GuaranteedArea

__all__ = ["AreaHistory", "Shares", "as_text", "shares"]

CELLS: Final = 128
TEXT_COLUMNS: Final = 64
SAMPLE_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Shares:
    """What an area's pages are used for, cell by cell of its address range.

    cached, taken    float32, one number from 0 to 1 a cell: the part of the cell's pages that hold file data,
                     and that a device has; the rest is free
    """

    cached: npt.NDArray[np.float32]
    taken: npt.NDArray[np.float32]


def shares(area: ContiguousArea, cells: int = CELLS) -> Shares:
    """What the area is used for now; fewer cells than asked for when it has fewer pages."""
    cells = min(cells, area.count)
    edges = np.linspace(0, area.count, cells + 1).astype(np.int64)
    with area.lock:
        bits = np.unpackbits(area.runs.words.view(np.uint8), bitorder="little")[: area.count]
        cached = np.zeros_like(bits)
        if isinstance(area, GuaranteedArea):
            cache = area.cleancache
            row = int(cache.counts[layout.POOL0 + layout.POOL_LONGS * area.pool + layout.POOL_ROW])
            states = cache.frames[row : row + area.count, layout.STATE] & ((1 << layout.STATE_BITS) - 1)
            cached = (states == layout.CACHED).view(np.uint8)
    return Shares(_means(cached, edges), _means(bits, edges))


def _means(values: npt.NDArray[np.uint8], edges: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    sums = np.add.reduceat(values, edges[:-1], dtype=np.int64)
    means: npt.NDArray[np.float32] = (sums / np.diff(edges)).astype(np.float32)
    return means


def as_text(area: ContiguousArea, columns: int = TEXT_COLUMNS) -> str:
    """One line: a character a cell, `#` a device has pages there, `c` file data, `.` free; the largest wins
    unless a device has any.
    """
    use = shares(area, columns)
    mostly_cached = use.cached >= 0.5
    marks = np.where(use.taken > 0, "#", np.where(mostly_cached, "c", "."))
    return "".join(marks.tolist())


@dataclass(slots=True)
class AreaHistory:
    """How an area's use changed: samples in order of time.

    times    seconds, as given
    marks    (seconds, text): what happened then

    At most SAMPLE_LIMIT samples are kept: when there are more, every other one is forgotten and only every
    other new one taken.
    """

    times: list[float] = field(default_factory=list)
    samples: list[Shares] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    _stride: int = 1
    _calls: int = 0

    def sample(self, area: ContiguousArea, seconds: float) -> None:
        """Note what the area is used for now."""
        self._calls += 1
        if self._calls % self._stride:
            return
        self.times.append(seconds)
        self.samples.append(shares(area))
        if len(self.samples) > SAMPLE_LIMIT:
            del self.times[1::2], self.samples[1::2]
            self._stride *= 2

    def mark(self, seconds: float, text: str) -> None:
        """Note that something begins."""
        self.marks.append((seconds, text))
