"""Which memory a device's DMA reaches: the kernel's walk up the ``dma-ranges`` (drivers/of/address.c)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dts.range import Range
from dts.tree import U64, Node, Tree, number

_MAX_ADDRESS_CELLS = 4  # OF_MAX_ADDR_CELLS
_PCI_SPACE = ("configuration", "i/o", "memory", "memory")
_MAX_HOPS = 4096  # interconnects may form a ring, which the kernel would never leave


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


def reach(tree: Tree, node: Node, phandles: dict[int, Node] | None = None) -> Reach:
    """The reach of a device (``of_dma_get_range``).

    :param phandles: ``tree.phandles()``, to save the search when many devices are asked for
    """
    iommu = "iommus" in node.properties
    at: Node | None = node
    found = False
    for _ in range(_MAX_HOPS):
        if at is None:
            return Reach((), iommu, Walk.ROOT, None)
        value = at.properties.get("dma-ranges")
        if value:
            windows = tuple(_windows(tree, at, value, phandles))
            return Reach(windows, iommu, Walk.FOUND if windows else Walk.UNUSABLE, at)
        if found and value is None:
            return Reach((), iommu, Walk.GAVE_UP, None)
        found = True
        at = _dma_parent(tree, at, phandles)
    return Reach((), iommu, Walk.GAVE_UP, None)


def zone_dma_last(tree: Tree) -> int | None:
    """Highest CPU address that every available bus reaches, None for no limit.

    The kernel's ``of_dma_get_max_cpu_address``, from which arm64 takes the end of ZONE_DMA.
    """
    lowest: int | None = None
    phandles: dict[int, Node] | None = None
    stack = [tree.root]
    while stack:
        node = stack.pop()
        value = node.properties.get("dma-ranges")
        if value:
            if phandles is None:
                phandles = tree.phandles()
            last = 0
            for window in _windows(tree, node, value, phandles, failed=U64):
                end = window.cpu + window.size & U64
                if end > last:
                    last = end - 1
            lowest = last if lowest is None else min(lowest, last)
        stack.extend(child for child in node.children if child.available)
    return lowest


def _dma_parent(tree: Tree, node: Node, phandles: dict[int, Node] | None) -> Node | None:
    """``__of_get_dma_parent``: the interconnect called ``dma-mem``, else the parent."""
    names = node.properties.get("interconnect-names")
    if not names:
        return node.parent
    try:
        index = names.rstrip(b"\0").split(b"\0").index(b"dma-mem")
    except ValueError:
        return node.parent
    known = tree.phandles() if phandles is None else phandles
    value = node.properties.get("interconnects", b"")
    at = 0
    while at + 4 <= len(value):
        provider = known.get(number(value[at : at + 4]))
        if index == 0:
            return provider or node.parent
        index -= 1
        cells = provider.properties.get("#interconnect-cells", b"") if provider is not None else b""
        if number(value[at : at + 4]) == 0:
            at += 4
        elif len(cells) == 4:
            at += 4 + 4 * number(cells)
        else:
            break
    return node.parent


class _Bus(Enum):
    """``of_busses``: how a bus writes addresses. The value is the number of leading flag cells."""

    PCI = ("pci", 1)
    ISA = ("isa", 1)
    FLAGS = ("default-flags", 1)
    PLAIN = ("default", 0)

    @property
    def flag_cells(self) -> int:
        return self.value[1]


def _bus_of(node: Node) -> _Bus | None:
    kind = node.properties.get("device_type", b"").rstrip(b"\0")
    if kind in (b"pci", b"pciex", b"vci", b"ht") or node.base_name == "pcie":
        return _Bus.PCI
    if node.base_name == "isa":
        return _Bus.ISA
    if "#address-cells" not in node.properties:
        return None
    return _Bus.FLAGS if node.address_cells == 3 else _Bus.PLAIN


def _child_cells(bus: _Bus, child: Node) -> tuple[int, int]:
    """Cells of address and size as ``count_cells`` of the bus gives them for a child."""
    if bus is _Bus.PCI:
        return 3, 2
    if bus is _Bus.ISA:
        return 2, 1
    parent = child.parent or child
    return parent.address_cells, parent.size_cells


def _flags(bus: _Bus, address: bytes) -> int:
    """The flags that tell address spaces of a bus apart, as far as they separate entries."""
    if not bus.flag_cells:
        return 0
    word = number(address[:4])
    if bus is _Bus.PCI:
        # Space code (I/O, 32-bit, 64-bit memory) and the prefetchable bit.
        return (word >> 24 & 3) | (word >> 28 & 4)
    return word & 1 if bus is _Bus.ISA else word


def _windows(
    tree: Tree, node: Node, value: bytes, phandles: dict[int, Node] | None, failed: int | None = None
) -> list[Window]:
    """``for_each_of_range`` over the ``dma-ranges`` of a bus: entries that touch are joined.

    :param failed: when given, the CPU address that an untranslatable entry counts with
    """
    bus = _bus_of(node)
    above = (node.parent or node).address_cells
    cells, size_cells = node.address_cells, node.size_cells
    if bus is None or not (
        0 < cells <= _MAX_ADDRESS_CELLS and size_cells > 0 and 0 < above <= _MAX_ADDRESS_CELLS
    ):
        return []
    entry = 4 * (cells + above + size_cells)
    out: list[Window] = []
    flags_before: int | None = None
    for at in range(0, len(value) // 4 * 4 - entry + 1, entry):
        address = value[at : at + 4 * cells]
        flags = _flags(bus, address)
        bus_address = number(address[4 * bus.flag_cells :])
        cpu = _translate(tree, node, value[at + 4 * cells : at + 4 * (cells + above)], phandles)
        size = number(value[at + 4 * (cells + above) : at + entry])
        if cpu is None:
            flags_before = None
            if failed is not None:
                out.append(Window(failed, bus_address, size))
            continue
        last = out[-1] if out else None
        if (
            last is not None
            and flags == flags_before
            and bus_address == last.bus + last.size
            and cpu == last.cpu + last.size
        ):
            out[-1] = Window(last.cpu, last.bus, last.size + size)
        else:
            out.append(Window(cpu, bus_address, size))
        flags_before = flags
    return out


def _translate(tree: Tree, node: Node, address: bytes, phandles: dict[int, Node] | None) -> int | None:
    """``of_translate_dma_address``: an address on the parent bus as the CPU's, None without any."""
    child = node
    parent = _dma_parent(tree, child, phandles)
    bus = _bus_of(parent) if parent is not None else None
    if parent is None or bus is None:
        return None
    cells, size_cells = _child_cells(bus, child)
    if not (0 < cells <= _MAX_ADDRESS_CELLS and size_cells > 0) or len(address) < 4 * cells:
        return None
    address = address[: 4 * cells]
    for _ in range(_MAX_HOPS):
        child, parent = parent, _dma_parent(tree, parent, phandles)
        if parent is None:
            return number(address)
        above = _bus_of(parent)
        if above is None:
            return None
        cells_above, size_cells_above = _child_cells(above, child)
        if not (0 < cells_above <= _MAX_ADDRESS_CELLS and size_cells_above > 0):
            return None
        moved = _one_level(
            child.properties.get("dma-ranges"), bus, above, address, cells, size_cells, cells_above
        )
        if moved is None:
            return None
        address, cells, size_cells, bus = moved, cells_above, size_cells_above, above
    return None


def _one_level(
    value: bytes | None, bus: _Bus, above: _Bus, address: bytes, cells: int, size_cells: int, cells_above: int
) -> bytes | None:
    """``of_translate_one``: the address one bus further up, None when no entry maps it."""
    if not value:
        offset = number(address)
        kept = address[: 4 * above.flag_cells].ljust(4 * above.flag_cells, b"\0")
        base = kept + bytes(4 * (cells_above - above.flag_cells))
        return _add(base, offset, above.flag_cells)
    entry = 4 * (cells + cells_above + size_cells)
    skip = 4 * bus.flag_cells
    for at in range(0, len(value) // 4 * 4 - entry + 1, entry):
        start = value[at : at + 4 * cells]
        if bus is _Bus.FLAGS and start[:4] != address[:4]:
            continue
        if bus is _Bus.PCI and _PCI_SPACE[_flags(bus, start) & 3] != _PCI_SPACE[_flags(bus, address) & 3]:
            continue
        if bus is _Bus.ISA and (start[3] ^ address[3]) & 1:
            continue
        first, wanted = number(start[skip:]), number(address[skip:])
        size = number(value[at + 4 * (cells + cells_above) : at + entry])
        if first <= wanted < first + size:
            base = value[at + 4 * cells : at + 4 * (cells + cells_above)]
            return _add(base, wanted - first, above.flag_cells)
    return None


def _add(address: bytes, offset: int, flag_cells: int) -> bytes:
    flags, rest = address[: 4 * flag_cells], address[4 * flag_cells :]
    total = number(rest) + offset & U64
    width = len(rest)
    return flags + (total & (1 << 8 * width) - 1).to_bytes(width, "big")
