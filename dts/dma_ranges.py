"""The entries of ``dma-ranges``, translated bus by bus to CPU addresses (drivers/of/address.c)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dts.blob import KERNEL_DEPTH
from dts.error import DtsError
from dts.tree import U64, Node, Tree, number

MAX_STEPS = 500_000
"""Most entries that are looked at for one tree; a real one needs some hundred."""
_MAX_ADDRESS_CELLS = 4  # OF_MAX_ADDR_CELLS
_PCI_SPACE = ("configuration", "i/o", "memory", "memory")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``dma-ranges``: bus address, CPU address (None: no bus above maps it), size."""

    flags: int
    bus: int
    cpu: int | None
    size: int


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


class Translator:
    """Reads ``dma-ranges`` of a tree; the work it does for one tree is bounded."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._phandles: dict[int, Node] | None = None
        self._steps = 0

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise DtsError(
                f"{self._tree.name}: its dma-ranges were expected to translate within {MAX_STEPS} steps and "
                "do not; use fewer entries."
            )

    def dma_parent(self, node: Node) -> Node | None:
        """``__of_get_dma_parent``: the interconnect called ``dma-mem``, else the parent."""
        names = node.properties.get("interconnect-names")
        if not names:
            return node.parent
        try:
            index = names.rstrip(b"\0").split(b"\0").index(b"dma-mem")
        except ValueError:
            return node.parent
        if self._phandles is None:
            self._phandles = self._tree.phandles()
        value = node.properties.get("interconnects", b"")
        at = 0
        while at + 4 <= len(value):
            self._step()
            phandle = number(value[at : at + 4])
            provider = self._phandles.get(phandle)
            if index == 0:
                return provider or node.parent
            index -= 1
            cells = provider.properties.get("#interconnect-cells", b"") if provider is not None else b""
            if phandle and len(cells) != 4:
                break
            at += 4 + (4 * number(cells) if phandle else 0)
        return node.parent

    def entries(self, node: Node) -> list[Entry] | None:
        """The ``dma-ranges`` of a bus, in order; None when its cells do not allow to read them."""
        value = node.properties["dma-ranges"]
        bus = _bus_of(node)
        above = (node.parent or node).address_cells
        cells, size_cells = node.address_cells, node.size_cells
        if bus is None or not (_sound(cells, size_cells) and _sound(above, 1)):
            return None
        entry = 4 * (cells + above + size_cells)
        out = []
        for at in range(0, len(value) // 4 * 4 - entry + 1, entry):
            self._step()
            address = value[at : at + 4 * cells]
            out.append(
                Entry(
                    _flags(bus, address),
                    number(address[4 * bus.flag_cells :]),
                    self._translate(node, value[at + 4 * cells : at + 4 * (cells + above)]),
                    number(value[at + 4 * (cells + above) : at + entry]),
                )
            )
        return out

    def _translate(self, node: Node, address: bytes) -> int | None:
        """``of_translate_dma_address``: an address on the parent bus as the CPU's, None without any."""
        child = node
        parent = self.dma_parent(child)
        bus = _bus_of(parent) if parent is not None else None
        if parent is None or bus is None:
            return None
        cells, size_cells = _child_cells(bus, child)
        if not _sound(cells, size_cells) or len(address) < 4 * cells:
            return None
        address = address[: 4 * cells]
        for _ in range(KERNEL_DEPTH):
            child, parent = parent, self.dma_parent(parent)
            if parent is None:
                return number(address)
            above = _bus_of(parent)
            if above is None:
                return None
            cells_above, size_cells_above = _child_cells(above, child)
            if not _sound(cells_above, size_cells_above):
                return None
            value = child.properties.get("dma-ranges")
            moved = self._one_level(value, bus, above, address, cells, size_cells, cells_above)
            if moved is None:
                return None
            address, cells, size_cells, bus = moved, cells_above, size_cells_above, above
        return None

    def _one_level(
        self,
        value: bytes | None,
        bus: _Bus,
        above: _Bus,
        address: bytes,
        cells: int,
        size_cells: int,
        cells_above: int,
    ) -> bytes | None:
        """``of_translate_one``: the address one bus further up, None when no entry maps it."""
        if not value:
            self._step()
            kept = address[: 4 * above.flag_cells].ljust(4 * above.flag_cells, b"\0")
            return _add(kept + bytes(4 * (cells_above - above.flag_cells)), number(address), above.flag_cells)
        entry = 4 * (cells + cells_above + size_cells)
        skip = 4 * bus.flag_cells
        for at in range(0, len(value) // 4 * 4 - entry + 1, entry):
            self._step()
            start = value[at : at + 4 * cells]
            if not _same_space(bus, start, address):
                continue
            first, wanted = number(start[skip:]), number(address[skip:])
            size = number(value[at + 4 * (cells + cells_above) : at + entry])
            if first <= wanted < first + size:
                base = value[at + 4 * cells : at + 4 * (cells + cells_above)]
                return _add(base, wanted - first, above.flag_cells)
        return None


def _sound(address_cells: int, size_cells: int) -> bool:
    """``OF_CHECK_COUNTS``."""
    return 0 < address_cells <= _MAX_ADDRESS_CELLS and size_cells > 0


def _same_space(bus: _Bus, entry: bytes, address: bytes) -> bool:
    """Whether an entry is of the address's kind, as the bus's ``map`` compares their first cells."""
    if bus is _Bus.FLAGS:
        return entry[:4] == address[:4]
    if bus is _Bus.PCI:
        return _PCI_SPACE[_flags(bus, entry) & 3] == _PCI_SPACE[_flags(bus, address) & 3]
    return bus is not _Bus.ISA or not (entry[3] ^ address[3]) & 1


def _add(address: bytes, offset: int, flag_cells: int) -> bytes:
    flags, rest = address[: 4 * flag_cells], address[4 * flag_cells :]
    total = number(rest) + offset & U64
    width = len(rest)
    return flags + (total & (1 << 8 * width) - 1).to_bytes(width, "big")
