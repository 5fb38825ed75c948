"""The devicetree as nodes with raw properties.

A property stays ``bytes`` until a caller states its type; each typed reader of :class:`Node` refuses a
value of another form with a sentence that names the node, the property, the expected form and the length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from dts.error import NodeError, PropertyError
from dts.range import Range

if TYPE_CHECKING:
    from dts.place import SourceMap

U64 = (1 << 64) - 1


def number(cells: bytes) -> int:
    """Big-endian cells as one number; more than two cells keep the low 64 bits (``of_read_number``)."""
    return int.from_bytes(cells, "big") & U64


class Node:
    """One node.

    :ivar name: the name with its unit address, ``""`` for the root
    :ivar parent: None for the root
    :ivar children: in document order; use :meth:`add` and :meth:`remove` to edit
    :ivar properties: raw values by name, in document order; may be edited. Of two properties of one name the
        first counts, as libfdt finds it.
    """

    __slots__ = ("children", "name", "parent", "properties")

    def __init__(self, name: str, parent: Node | None = None) -> None:
        self.name = name
        self.parent = parent
        self.children: list[Node] = []
        self.properties: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Node {self.path}>"

    @property
    def path(self) -> str:
        """The full path, ``/`` for the root."""
        names = []
        node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return "/" + "/".join(reversed(names))

    @property
    def base_name(self) -> str:
        """The name without its unit address."""
        return self.name.partition("@")[0]

    def walk(self) -> Iterator[Node]:
        """The node and all below it, in document order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def child(self, name: str) -> Node | None:
        """The first child of that exact name."""
        return next((child for child in self.children if child.name == name), None)

    def add(self, name: str) -> Node:
        """Append a new child.

        :raise NodeError: a child of that name exists, or the name is empty or holds a slash
        """
        if not name or "/" in name:
            raise NodeError(f"{self.path}: a child needs a name without '/', got {name!r}.")
        if self.child(name) is not None:
            raise NodeError(
                f"{self.path}: it already has a child {name!r}; take another name or edit that one."
            )
        node = Node(name, self)
        self.children.append(node)
        return node

    def remove(self, name: str) -> None:
        """Delete the first child of that name, with all below it.

        :raise NodeError: no such child
        """
        node = self.child(name)
        if node is None:
            raise NodeError(f"{self.path}: it has no child {name!r} to remove.")
        self.children.remove(node)
        node.parent = None

    # Typed readers.

    def flag(self, name: str) -> bool:
        """Whether the property is present, whatever its value: how the kernel reads every boolean."""
        return name in self.properties

    def raw(self, name: str) -> bytes:
        """The value as it stands in the blob.

        :raise PropertyError: absent
        """
        value = self.properties.get(name)
        if value is None:
            raise PropertyError(f"{self.path}: the property {name!r} is needed here and absent.")
        return value

    def cells(self, name: str) -> tuple[int, ...]:
        """The value as 32-bit cells.

        :raise PropertyError: absent, or not a whole number of cells
        """
        value = self.raw(name)
        if len(value) % 4:
            raise PropertyError(
                f"{self.path}: {name!r} should be a list of 32-bit cells, its {len(value)} bytes are not a "
                "multiple of 4."
            )
        return tuple(int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4))

    def u32(self, name: str) -> int:
        """The value as one 32-bit cell.

        :raise PropertyError: absent, or not 4 bytes
        """
        return self.number(name, 1)

    def number(self, name: str, cells: int) -> int:
        """The value as one number of ``cells`` cells.

        :raise PropertyError: absent, or another length
        """
        value = self.raw(name)
        if len(value) != 4 * cells:
            raise PropertyError(
                f"{self.path}: {name!r} should be {cells} cell{'s'[: cells != 1]} ({4 * cells} bytes), it "
                f"has {len(value)} bytes."
            )
        return number(value)

    def numbers(self, name: str, *cells: int) -> tuple[tuple[int, ...], ...]:
        """The value as a list of entries, each of one number per item of ``cells``, so many cells wide.

        ``numbers("reg", 2, 1)`` gives ``((address, size), ...)``.

        :raise PropertyError: absent, not a whole number of entries, or entries of no cells
        """
        value = self.raw(name)
        entry = 4 * sum(cells)
        form = "+".join(map(str, cells))
        if not entry or any(count < 0 for count in cells):
            raise PropertyError(f"{self.path}: {name!r} cannot be read with entries of {form} cells.")
        if len(value) % entry:
            raise PropertyError(
                f"{self.path}: {name!r} should be a list of entries of {form} cells ({entry} bytes), it has "
                f"{len(value)} bytes."
            )
        out = []
        for start in range(0, len(value), entry):
            at, numbers = start, []
            for count in cells:
                numbers.append(number(value[at : at + 4 * count]))
                at += 4 * count
            out.append(tuple(numbers))
        return tuple(out)

    def ranges(self, name: str, address_cells: int, size_cells: int) -> tuple[Range, ...]:
        """The value as (address, size) entries.

        :raise PropertyError: as :meth:`numbers`
        """
        return tuple(Range(base, size) for base, size in self.numbers(name, address_cells, size_cells))

    def strings(self, name: str) -> tuple[str, ...]:
        """The value as a list of strings; a byte that is not ASCII reads as Latin-1.

        :raise PropertyError: absent, or not ended by a NUL
        """
        value = self.raw(name)
        if value and not value.endswith(b"\0"):
            raise PropertyError(
                f"{self.path}: {name!r} should be a list of strings, it does not end in a NUL byte."
            )
        return tuple(part.decode("latin-1") for part in value.split(b"\0")[:-1])

    def string(self, name: str) -> str:
        """The value as its first string (``fdt_stringlist_get`` with index 0).

        :raise PropertyError: absent, empty, or not ended by a NUL
        """
        value = self.raw(name)
        text, nul, _ = value.partition(b"\0")
        if not nul:
            raise PropertyError(f"{self.path}: {name!r} should be a string, it has no NUL byte at its end.")
        return text.decode("latin-1")

    # The kernel's readings.

    @property
    def address_cells(self) -> int:
        """Cells of an address for the children (``of_bus_n_addr_cells``: asks upwards, 1 at the end)."""
        return self._bus_cells("#address-cells")

    @property
    def size_cells(self) -> int:
        """Cells of a size for the children (``of_bus_n_size_cells``: asks upwards, 1 at the end)."""
        return self._bus_cells("#size-cells")

    def _bus_cells(self, name: str) -> int:
        node: Node | None = self
        while node is not None:
            value = node.properties.get(name)
            if value is not None and len(value) >= 4:
                return int.from_bytes(value[:4], "big")
            node = node.parent
        return 1

    @property
    def reg(self) -> tuple[Range, ...]:
        """``reg`` in the parent's cells.

        :raise PropertyError: absent, or not whole entries
        """
        bus = self.parent or self
        return self.ranges("reg", bus.address_cells, bus.size_cells)

    @property
    def available(self) -> bool:
        """Whether ``status`` is absent, ``ok`` or ``okay`` (``of_fdt_device_is_available``).

        A status without a terminating NUL reads as absent there.
        """
        value = self.properties.get("status", b"")
        return b"\0" not in value or value.partition(b"\0")[0] in (b"ok", b"okay")

    @property
    def compatible(self) -> tuple[str, ...]:
        """The ``compatible`` list, empty when absent or malformed."""
        value = self.properties.get("compatible", b"")
        return tuple(part.decode("latin-1") for part in value.split(b"\0")[:-1])

    def is_compatible(self, *names: str) -> bool:
        """Whether ``compatible`` lists one of the names; upper and lower case are one (``of_compat_cmp``)."""
        mine = {item.lower() for item in self.compatible}
        return any(name.lower() in mine for name in names)

    @property
    def phandle(self) -> int | None:
        """The node's phandle (also as ``linux,phandle``), None when it has none."""
        for name in ("phandle", "linux,phandle"):
            value = self.properties.get(name)
            if value is not None and len(value) == 4:
                return int.from_bytes(value, "big")
        return None


class Oddity(Enum):
    """What a blob may contain although no tool should have written it."""

    DUPLICATE_PROPERTY = "a second property of one name, which libfdt and the kernel do not see"
    DUPLICATE_NODE = "a second child of one name, which no path finds"
    LATE_PROPERTY = "a property behind a child node, which libfdt and the kernel do not see"
    MISALIGNED = "a block that does not start on its alignment"


@dataclass(slots=True)
class Tree:
    """A devicetree.

    :ivar name: the file, as the user wrote it
    :ivar root: the node ``/``
    :ivar memreserve: the entries of ``/memreserve/``
    :ivar oddities: what is odd about the blob, the node, and the name of the property, child or block
    :ivar boot_cpu: the header's physical id of the boot CPU
    :ivar sources: where nodes and properties stand in the user's files; empty for a blob
    """

    name: str
    root: Node
    memreserve: tuple[Range, ...] = ()
    oddities: tuple[tuple[Oddity, Node, str], ...] = ()
    boot_cpu: int = 0
    sources: tuple[SourceMap, ...] = field(default=(), repr=False, compare=False)

    @property
    def is_overlay(self) -> bool:
        """Whether this is an overlay: fragments, whose nodes belong into another tree."""
        return any(child.child("__overlay__") is not None for child in self.root.children)

    def walk(self) -> Iterator[Node]:
        """All nodes in document order, the root first."""
        return self.root.walk()

    def paths(self, depth: int) -> Iterator[tuple[str, Node]]:
        """The nodes down to a depth with their paths; cheaper than to ask each node for its path."""
        stack = [("", self.root, 0)]
        while stack:
            path, node, level = stack.pop()
            yield path or "/", node
            if level < depth:
                stack.extend((f"{path}/{child.name}", child, level + 1) for child in reversed(node.children))

    def find(self, path: str) -> Node | None:
        """The node at an absolute path, None when there is none."""
        if not path.startswith("/"):
            return None
        node: Node | None = self.root
        for name in path.split("/")[1:] if path != "/" else ():
            node = node.child(name) if node is not None else None
        return node

    def node(self, path: str) -> Node:
        """The node at an absolute path.

        :raise NodeError: no such node
        """
        found = self.find(path)
        if found is None:
            parent = self.root
            for name in path.split("/")[1:]:
                child = parent.child(name)
                if child is None:
                    break
                parent = child
            near = ", ".join(child.name for child in parent.children[:8]) or "no child"
            raise NodeError(f"{self.name}: no node {path!r}; {parent.path} exists and has {near}.")
        return found

    def phandles(self) -> dict[int, Node]:
        """Nodes by phandle; of two with the same phandle the first."""
        out: dict[int, Node] = {}
        for node in self.walk():
            phandle = node.phandle
            if phandle is not None:
                out.setdefault(phandle, node)
        return out

    def by_phandle(self, phandle: int) -> Node | None:
        """The node of that phandle. It searches the whole tree: for many, take :meth:`phandles` once."""
        return next((node for node in self.walk() if node.phandle == phandle), None)

    def compatible(self, *names: str) -> Iterator[Node]:
        """The nodes compatible with one of the names, in document order, disabled ones included."""
        return (node for node in self.walk() if node.is_compatible(*names))
