"""Devicetree blobs: bytes to a :class:`~dts.tree.Tree` and back.

pyfdt decodes and encodes; what it does not do is done here, before it sees a byte:

- It checks no bound, tag, or nesting. One linear pass over the structure block, :func:`_scan`, demands what
  libfdt's ``fdt_check_full`` demands (devicetree specification 0.4, chapter 5), and that the kernel finds the
  root node.
- It knows version 17 alone for certain and keeps NOPs as children. The pass leaves out NOPs and, for an
  older or odd blob, rewrites the tags as version 17.
- Its tree of nodes compares each child with all its siblings, and guesses types. Only its decoded tags are
  used, whose values are raw bytes; the tree is made here, in linear time.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

from dts.error import BlobError, NodeError
from dts.file import MAX_BYTES
from dts.range import Range
from dts.tree import Node, Oddity, Tree

MAGIC = b"\xd0\x0d\xfe\xed"
MAX_DEPTH = 2048
"""Deepest nesting that is read; the kernel keeps 64 levels."""
MAX_TAGS = 800_000
"""Most nodes and properties that are read, NOPs not counted; real boards have some 10,000."""
KERNEL_DEPTH = 64
"""``FDT_MAX_DEPTH`` of drivers/of/fdt.c: deeper nodes are dropped when the tree is unflattened."""

MAX_NAMES = 16 << 20
"""Most letters of all names together; pyfdt reads them one by one."""
_BEGIN, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
_HEADER_BYTES = {0: 28, 1: 28, 2: 32} | dict.fromkeys(range(3, 17), 36)
_INT_MAX = (1 << 31) - 1
_u32 = struct.Struct(">I").unpack_from
_u32_pair = struct.Struct(">II").unpack_from

_Tag = tuple[int, Any]  # (tag, name of the node) or, of a property, (tag, (name, raw value))


@dataclass(frozen=True, slots=True)
class _Header:
    total: int
    structure: int
    structure_end: int
    strings: int
    strings_end: int
    reserve: int
    version: int
    boot_cpu: int
    misaligned: tuple[str, ...]


def read_blob(data: bytes, name: str) -> Tree:
    """The tree of a flattened devicetree; bytes behind its ``totalsize`` are ignored.

    :param name: how messages call it, mostly the path
    :raise BlobError: not a sound blob, or beyond the limits of this module
    """
    header = _header(data, name)
    reserve = _memreserve(data, header, name)
    structure, strings, late, ascii_names = _scan(data, header, name)
    tree = _build(_decode(structure, strings, name, ascii_names), name)
    tree.memreserve = reserve
    tree.boot_cpu = header.boot_cpu
    nodes = list(tree.walk()) if late else []
    tree.oddities += tuple((Oddity.LATE_PROPERTY, nodes[index], prop) for index, prop in late)
    tree.oddities += tuple((Oddity.MISALIGNED, tree.root, block) for block in header.misaligned)
    return tree


def _bad(name: str, what: str) -> BlobError:
    return BlobError(f"{name}: {what}; rebuild the blob with dtc.")


def _header(data: bytes, name: str) -> _Header:
    """The header, once every bound in it is known to hold (``fdt_check_header``)."""
    if len(data) > MAX_BYTES:
        raise _bad(name, f"a blob of at most {MAX_BYTES >> 20} MiB was expected, it has {len(data)} bytes")
    if data[:4] != MAGIC:
        raise _bad(
            name, f"a devicetree blob begins with {MAGIC.hex()}, this one with {data[:4].hex() or 'nothing'}"
        )
    if len(data) < 28:
        raise _bad(name, f"a devicetree header has at least 28 bytes, the file has {len(data)}")
    total, structure, strings, reserve, version, compatible = struct.unpack_from(">6I", data, 4)
    if version < 2 or compatible > 17 or version < compatible:
        raise _bad(
            name,
            f"versions 2 to 17 can be read, this blob has version {version}, compatible back to {compatible}",
        )
    size = _HEADER_BYTES.get(version, 40)
    if not size <= total <= min(_INT_MAX, len(data)):
        raise _bad(
            name, f"the header claims {total} bytes and the file has {len(data)} (it may be cut short)"
        )
    (boot_cpu,) = _u32(data, 28)
    strings_size = _u32(data, 32)[0] if version >= 3 else 0
    structure_size = _u32(data, 36)[0] if version >= 17 else None
    structure_end = total if structure_size is None else structure + structure_size
    for what, start, end in (
        ("memory reservation block", reserve, reserve),
        ("structure block", structure, structure_end),
        ("strings block", strings, strings + strings_size),
    ):
        if not size <= start <= end <= total:
            raise _bad(
                name,
                f"the {what} should lie within {size:#x}..{total:#x}, the header puts it at "
                f"{start:#x}..{end:#x}",
            )
    # The kernel's libfdt refuses these, released ones read them.
    misaligned = tuple(
        what
        for what, start, grid in (("memory reservation", reserve, 8), ("structure", structure, 4))
        if start % grid
    )
    # Before version 17 names may run on to the end of the blob (fdt_get_string).
    strings_end = strings + strings_size if version >= 17 else total
    return _Header(
        total, structure, structure_end, strings, strings_end, reserve, version, boot_cpu, misaligned
    )


def _memreserve(data: bytes, header: _Header, name: str) -> tuple[Range, ...]:
    """The memory reservation block, which a size of 0 ends (``fdt_num_mem_rsv``)."""
    out: list[Range] = []
    for at in range(header.reserve, header.total - 15, 16):
        base, size = struct.unpack_from(">QQ", data, at)
        if not size:
            return tuple(out)
        out.append(Range(base, size))
    raise _bad(
        name,
        "the memory reservation block should end with an entry of size 0, it runs to the end of the blob",
    )


def _scan(data: bytes, header: _Header, name: str) -> tuple[bytes, bytes, list[tuple[int, str]], bool]:
    """One pass over all tags that refuses what is unsound.

    Returns the structure block as pyfdt reads it (version 17, no NOP), the strings block, the properties that
    stand behind a child node as (number of the node, name), which are left out, since libfdt and the kernel
    do not see them, and whether all names are ASCII.
    """
    end = header.structure_end
    old = header.version < 16
    pieces: list[bytes] = []
    kept = at = header.structure  # data[kept:at] is to be kept as it is
    stack: list[list[int]] = []  # of each open node: its number, and whether a child was seen
    nodes = tags = 0
    late: list[tuple[int, str]] = []
    letters = MAX_NAMES
    ascii_names = data[header.strings : header.strings_end].isascii()

    def string_end(start: int, stop: int, what: str) -> int:
        nonlocal letters
        nul = data.find(b"\0", start, min(stop, start + letters))
        if nul < 0:
            if start + letters < stop:
                raise _bad(
                    name, f"the names of all nodes and properties may have {MAX_NAMES} letters, here are more"
                )
            raise _bad(name, f"{what} has a name that its block does not hold")
        letters -= nul - start + 1
        return nul

    while True:
        here = at
        if at + 4 > end:
            raise _bad(name, f"the structure block ends at {end:#x} before its FDT_END tag")
        (tag,) = _u32(data, at)
        at += 4
        if tag == _PROP:
            if at + 8 > end:
                raise _bad(name, f"the property at {here:#x} is cut off by the end of the structure block")
            length, name_offset = _u32_pair(data, at)
            at += 8
            if old and length >= 8 and (at - header.structure) % 8:
                at += 4
            if at + length > end:
                raise _bad(name, f"the property at {here:#x} claims {length} bytes, more than its block has")
            if not stack:
                raise _bad(name, f"the property at {here:#x} stands outside of any node")
            label = header.strings + name_offset
            stop = string_end(label, header.strings_end, f"the property at {here:#x}")
            value, at = at, at + (length + 3 & ~3)
            if stack[-1][1]:
                late.append((stack[-1][0], data[label:stop].decode("latin-1")))
                pieces.append(data[kept:here])
                kept = at
            elif old:
                pieces.append(struct.pack(">III", _PROP, length, name_offset))
                pieces.append(data[value:at])
                kept = at
        elif tag == _BEGIN:
            stop = string_end(at, end, f"the node at {here:#x}")
            label_bytes, at = data[at:stop], stop + 1 + (header.structure - stop - 1) % 4
            ascii_names = ascii_names and label_bytes.isascii()
            if old:  # full paths, of which the last part counts
                label_bytes = label_bytes.rpartition(b"/")[2]
                pieces.append(struct.pack(">I", _BEGIN) + label_bytes + b"\0" * (4 - len(label_bytes) % 4))
                kept = at
            if stack:
                stack[-1][1] = 1
            elif nodes:
                raise _bad(name, f"a second root node begins at {here:#x}")
            elif label_bytes:
                raise _bad(
                    name,
                    f"the root node has no name, here it is called {label_bytes[:40].decode('latin-1')!r}",
                )
            if len(stack) == MAX_DEPTH:
                raise _bad(
                    name,
                    f"nodes may nest {MAX_DEPTH} levels deep (the kernel keeps {KERNEL_DEPTH}), the node at "
                    f"{here:#x} lies deeper",
                )
            stack.append([nodes, 0])
            nodes += 1
        elif tag == _END_NODE:
            if not stack:
                raise _bad(name, f"a node ends at {here:#x} where none is open")
            stack.pop()
            if old:
                pieces.append(data[here:at])
                kept = at
            continue
        elif tag == _NOP:
            if not stack:
                raise _bad(
                    name, f"only FDT_END may stand outside of the root node, there is a NOP tag at {here:#x}"
                )
            if kept < here:
                pieces.append(data[kept:here])
            kept = at
            continue
        elif tag == _END:
            break
        else:
            raise _bad(name, f"the tag {tag:#x} at {here:#x} is none of the five that exist")
        tags += 1
        if tags > MAX_TAGS:
            raise _bad(name, f"at most {MAX_TAGS} nodes and properties are read, this blob has more")
    if stack:
        raise _bad(name, f"FDT_END at {here:#x} leaves {len(stack)} nodes open")
    if not nodes:
        raise _bad(name, "there is no root node")
    pieces.append(data[kept:at])
    return b"".join(pieces), data[header.strings : header.strings_end], late, ascii_names


class _Latin1(bytes):
    """A byte that pyfdt may decode as ASCII although it is none; libfdt takes names of any bytes."""

    def decode(self, encoding: str = "latin-1", errors: str = "strict") -> str:
        return super().decode("latin-1", errors)


class _Latin1File(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        return _Latin1(data) if size == 1 else data


def _decode(structure: bytes, strings: bytes, name: str, ascii_names: bool) -> list[_Tag]:
    """The tags as pyfdt reads them."""
    from pyfdt.pyfdt import FdtBlobParse

    body = 56 + len(structure)
    head = struct.pack(
        ">10I", 0xD00DFEED, body + len(strings), 56, body, 40, 17, 16, 0, len(strings), len(structure)
    )
    blob = b"".join((head, bytes(16), structure, strings))
    file = io.BytesIO(blob) if ascii_names else _Latin1File(blob)
    try:
        tags: list[_Tag] = FdtBlobParse(file).fdt_dt_tags
    except Exception as error:  # pyfdt raises whatever its bytes led it to; none of it may leave this module
        raise _bad(name, f"pyfdt could not decode it ({type(error).__name__}: {error})") from error
    return tags


def _build(tags: list[_Tag], name: str) -> Tree:
    root = node = Node("")
    oddities: list[tuple[Oddity, Node, str]] = []
    seen: list[set[str]] = []  # children's names of each open node
    for tag, what in tags:
        if tag == _PROP:
            label, value = what
            if label in node.properties:
                oddities.append((Oddity.DUPLICATE_PROPERTY, node, label))
            else:
                node.properties[label] = value
        elif tag == _BEGIN:
            if seen:
                label = "" if what == "/" else what  # pyfdt's word for an empty name
                if label in seen[-1]:
                    oddities.append((Oddity.DUPLICATE_NODE, node, label))
                seen[-1].add(label)
                child = Node(label, node)
                node.children.append(child)
                node = child
            seen.append(set())
        elif tag == _END_NODE:
            seen.pop()
            node = node.parent or root
    return Tree(name, root, oddities=tuple(oddities))


def flatten(tree: Tree) -> bytes:
    """The tree as a blob of version 17, by pyfdt's writer.

    The writer is sound for values that pyfdt classified itself; it recurses, so trees deeper than the kernel
    keeps are refused, and it compares siblings only in ``append``, which is not used here.

    :raise NodeError: nested deeper than 64 levels, or a name that is not printable ASCII
    """
    from pyfdt.pyfdt import Fdt, FdtNode, FdtProperty

    fdt = Fdt(boot_cpuid_phys=tree.boot_cpu)
    fdt.add_reserve_entries([{"address": item.base, "size": item.size} for item in tree.memreserve])

    def convert(node: Node, depth: int) -> FdtNode:
        if depth >= KERNEL_DEPTH:
            raise NodeError(
                f"{node.path}: a blob for the kernel nests at most {KERNEL_DEPTH} levels; flatten less."
            )
        out = FdtNode(node.name or "/")
        out.subdata = [FdtProperty.new_raw_property(label, value) for label, value in node.properties.items()]
        out.subdata += [convert(child, depth + 1) for child in node.children]
        return out

    try:
        fdt.add_rootnode(convert(tree.root, 0))
        blob: bytes = fdt.to_dtb()
    except NodeError:
        raise
    except Exception as error:  # see _decode
        raise NodeError(
            f"{tree.name}: a name or a value cannot be written to a blob (pyfdt: {error}); use printable "
            "ASCII names."
        ) from error
    return blob
