"""Which memory a device's DMA reaches: the kernel's walk up the ``dma-ranges`` (drivers/of/address.c)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dts.blob import KERNEL_DEPTH
from dts.dma_ranges import Entry, Translator
from dts.range import Range
from dts.tree import U64, Node, Tree


@dataclass(frozen=True, slots=True)
class Window:
    """``size`` bytes that the device sees at ``bus`` and the CPU at ``cpu``."""

    cpu: int
    bus: int
    size: int

    @property
    def cpu_range(self) -> Range:
        """The window as the CPU addresses it."""
        return Range(self.cpu, self.size)


class Walk(Enum):
    """How the walk for ``dma-ranges`` ended."""

    FOUND = "dma-ranges with entries found"
    ROOT = "only empty dma-ranges up to the root: no limit"
    GAVE_UP = "two buses in a row without dma-ranges: no limit known"
    UNUSABLE = "dma-ranges found, none of whose entries translates"


@dataclass(frozen=True, slots=True)
class Reach:
    """What ``of_dma_get_range`` finds for a device.

    :ivar windows: empty when no limit is known
    :ivar iommu: the device stands behind an IOMMU, which lifts the limit
    :ivar bus: the node whose ``dma-ranges`` decide, None without any
    """

    windows: tuple[Window, ...]
    iommu: bool
    walk: Walk
    bus: Node | None

    @property
    def cpu_limit(self) -> int | None:
        """Highest CPU address of any window, None without a limit."""
        return max((window.cpu + window.size - 1 for window in self.windows), default=None)

    @property
    def dma_limit(self) -> int | None:
        """Highest bus address of any window, None without a limit."""
        return max((window.bus + window.size - 1 for window in self.windows), default=None)

    def holds(self, item: Range) -> bool:
        """Whether the device can use every byte of the range: one window holds it, or nothing limits it."""
        return self.iommu or not self.windows or any(window.cpu_range.holds(item) for window in self.windows)


class Buses:
    """The buses of a tree, for the reach of many devices: what is worked out for one bus is remembered."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._translator = Translator(tree)
        self._windows: dict[int, tuple[Window, ...]] = {}

    def reach(self, node: Node) -> Reach:
        """The reach of a device (``of_dma_get_range``).

        :raise DtsError: the tree's dma-ranges are so many that translating them has no end
        """
        iommu = "iommus" in node.properties
        at: Node | None = node
        found = False
        for _ in range(KERNEL_DEPTH):
            if at is None:
                return Reach((), iommu, Walk.ROOT, None)
            value = at.properties.get("dma-ranges")
            if value:
                windows = self._windows_of(at)
                return Reach(windows, iommu, Walk.FOUND if windows else Walk.UNUSABLE, at)
            if found and value is None:
                break
            found = True
            at = self._translator.dma_parent(at)
        # Interconnects may form a ring, which the kernel would never leave.
        return Reach((), iommu, Walk.GAVE_UP, None)

    def zone_dma_last(self) -> int | None:
        """See :func:`zone_dma_last`."""
        lowest: int | None = None
        stack = [(self._tree.root, 0)]
        while stack:
            node, depth = stack.pop()
            entries = self._translator.entries(node) if node.properties.get("dma-ranges") else None
            if entries is not None:
                last = 0
                for entry in _joined(entries):
                    # an entry that does not translate counts as the address ~0, as it does there
                    end = (U64 if entry.cpu is None else entry.cpu) + entry.size & U64
                    if end > last:
                        last = end - 1
                lowest = last if lowest is None else min(lowest, last)
            if depth < KERNEL_DEPTH:
                stack.extend((child, depth + 1) for child in node.children if child.available)
        return lowest

    def _windows_of(self, bus: Node) -> tuple[Window, ...]:
        known = self._windows.get(id(bus))
        if known is None:
            entries = _joined(self._translator.entries(bus) or [])
            known = tuple(
                Window(entry.cpu, entry.bus, entry.size) for entry in entries if entry.cpu is not None
            )
            self._windows[id(bus)] = known
        return known


def _joined(entries: list[Entry]) -> list[Entry]:
    """The entries as ``of_range_parser_one`` gives them: one that continues the one before is part of it."""
    out: list[Entry] = []
    for entry in entries:
        last = out[-1] if out else None
        if (
            last is not None
            and last.cpu is not None
            and entry.flags == last.flags
            and entry.bus == last.bus + last.size
            and entry.cpu == last.cpu + last.size
        ):
            out[-1] = Entry(last.flags, last.bus, last.cpu, last.size + entry.size)
        else:
            out.append(entry)
    return out


def reach(tree: Tree, node: Node) -> Reach:
    """The reach of a device (``of_dma_get_range``); for many devices take one :class:`Buses`.

    :raise DtsError: the tree's dma-ranges are so many that translating them has no end
    """
    return Buses(tree).reach(node)


def zone_dma_last(tree: Tree) -> int | None:
    """Highest CPU address that every available bus reaches, None for no limit.

    The kernel's ``of_dma_get_max_cpu_address``, from which arm64 takes the end of ZONE_DMA.

    :raise DtsError: as :func:`reach`
    """
    return Buses(tree).zone_dma_last()
