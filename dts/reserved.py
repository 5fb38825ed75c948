"""What Linux 7.3 does with ``/reserved-memory``, step by step (drivers/of/of_reserved_mem.c, kernel/dma).

First all static regions are reserved in document order, then all dynamic ones are placed and set up, and much
later the static ones are set up. A set-up that fails gives the memory back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dts.assumptions import Arch, Assumptions, cma_alignment, cma_areas
from dts.error import DtsError, PropertyError
from dts.memblock import ANYWHERE, Memblock
from dts.range import Range
from dts.region import FLAGS, Cause, Kind, Region, State
from dts.tree import U64, Node, Tree

MAX_RESERVED_REGIONS = 64
MAX_CHILDREN = 150_000
"""Most children of ``/reserved-memory`` that are judged; real boards have some thirty."""
_CACHE_LINE = 64  # SMP_CACHE_BYTES, the alignment of a region that asks for none


def declared_memory(tree: Tree) -> tuple[Range, ...]:
    """RAM as the tree declares it: children of the root with ``device_type = "memory"``.

    The kernel's ``early_init_dt_scan_memory``.
    """
    out: list[Range] = []
    for node in tree.root.children:
        if node.properties.get("device_type", b"").partition(b"\0")[0] != b"memory" or not node.available:
            continue
        for name in ("linux,usable-memory", "reg"):
            entries = _entries(tree.root, node, name)
            if entries is not None:
                out += [entry for entry in entries if entry.size]
                break
    return tuple(out)


def format_fault(tree: Tree, parent: Node) -> str | None:
    """The property of ``/reserved-memory`` that makes the kernel ignore it whole, None when it is sound."""
    for name, default in (("#size-cells", tree.root.size_cells), ("#address-cells", tree.root.address_cells)):
        value = parent.properties.get(name)
        if value is None or len(value) < 4 or int.from_bytes(value[:4], "big") != default:
            return name
    return None if "ranges" in parent.properties else "ranges"


def is_cma(node: Node) -> bool:
    """Whether the CMA driver takes the node (``__rmem_cma_verify_node``)."""
    return node.is_compatible("shared-dma-pool") and node.flag("reusable") and not node.flag("no-map")


def is_pool(node: Node) -> bool:
    """Whether a driver hands the region's memory out to devices."""
    return node.is_compatible("shared-dma-pool", "restricted-dma-pool")


def asks_guarantee(node: Node) -> bool:
    """Whether the node asks for guaranteed CMA, in this project's spelling or the posted series'."""
    return node.flag("guaranteed") or node.flag("guarantee")


@dataclass(slots=True)
class _Boot:
    """The kernel's state while it scans: RAM, the array of regions, and the CMA slots left."""

    tree: Tree
    assumptions: Assumptions
    arch: Arch
    memblock: Memblock
    known: bool  # whether RAM is known
    array: list[Range]
    slots: int
    default_area: str | None = None


def region_nodes(tree: Tree) -> dict[str, Node]:
    """The children of ``/reserved-memory`` by path; of two with one name the first, as lookups find it."""
    parent = tree.find("/reserved-memory")
    nodes: dict[str, Node] = {}
    for node in parent.children if parent is not None else ():
        nodes.setdefault(f"/reserved-memory/{node.name}", node)
    return nodes


def scan(tree: Tree, assumptions: Assumptions, memory: Iterable[Range]) -> dict[str, Region]:
    """Every child of ``/reserved-memory`` with what becomes of it, in document order.

    :raise DtsError: more children than are judged
    """
    parent = tree.find("/reserved-memory")
    if parent is None:
        return {}
    if len(parent.children) > MAX_CHILDREN:
        raise DtsError(
            f"{tree.name}: /reserved-memory should have at most {MAX_CHILDREN} children to be judged and has "
            f"{len(parent.children)}; leave some out."
        )
    nodes = region_nodes(tree)
    regions = {path: _declared(tree, node) for path, node in nodes.items()}
    if format_fault(tree, parent) is not None:
        return {
            path: replace(item, state=State.IGNORED, cause=Cause.FORMAT) for path, item in regions.items()
        }
    arch = assumptions.arch_for(tree)
    known = list(memory)
    memblock = Memblock(known, assumptions.page_size)
    for item in assumptions.occupied:
        memblock.reserve(item)
    boot = _Boot(tree, assumptions, arch, memblock, bool(known), [], cma_areas(assumptions, arch))

    static, dynamic = [], []
    for path, region in list(regions.items()):
        node = nodes[path]
        if not region.available:
            regions[region.path] = replace(region, state=State.DISABLED, cause=Cause.STATUS)
        elif region.kind is Kind.STATIC:
            regions[region.path] = reserved = _reserve_static(boot, region)
            if reserved.state is State.ACCEPTED or reserved.cause is Cause.NOMAP_BUSY:
                static.append((node, reserved))
        elif region.kind is Kind.DYNAMIC:
            dynamic.append((node, region))
        else:
            regions[region.path] = replace(region, state=State.IGNORED, cause=Cause.NO_MEMORY_ASKED)
    for index, (node, region) in enumerate(dynamic):
        if index >= MAX_RESERVED_REGIONS:
            regions[region.path] = replace(region, state=State.REJECTED, cause=Cause.TOO_MANY_DYNAMIC)
        else:
            regions[region.path] = _place(boot, node, region)
    if arch is Arch.ARM and boot.default_area is None and not assumptions.cma_on_cmdline:
        boot.slots -= 1  # dma_contiguous_reserve, which arm calls before static regions are set up
    for node, region in static:
        regions[region.path] = _set_up(boot, node, region, region.range)
    if boot.default_area is not None:
        regions[boot.default_area] = replace(regions[boot.default_area], default=True)
    return regions


def _declared(tree: Tree, node: Node) -> Region:
    """The node as the kernel would read it, before its fate is known."""
    reg = _entries(tree.root, node, "reg")
    kind = Kind.STATIC if reg else Kind.DYNAMIC if node.flag("size") else Kind.NONE
    flags = tuple(
        name for name in FLAGS if node.flag(name) or (name == "guaranteed" and node.flag("guarantee"))
    )
    cma = is_cma(node)
    return Region(
        path=node.path,
        name=node.name,
        kind=kind,
        state=State.ACCEPTED if kind is Kind.STATIC else State.DYNAMIC,
        cause=None,
        available=node.available,
        compatible=node.compatible,
        flags=flags,
        reg=reg or None,
        size=_number(node, "size", tree.root.size_cells),
        alignment=_number(node, "alignment", tree.root.address_cells),
        alloc_ranges=_entries(tree.root, node, "alloc-ranges"),
        placed=None,
        cma=cma,
        guaranteed=cma and asks_guarantee(node),
        default=False,
    )


def _entries(root: Node, node: Node, name: str) -> tuple[Range, ...] | None:
    """Entries in root cells, None when absent or malformed (``of_flat_dt_get_addr_size_prop``)."""
    if name not in node.properties:
        return None
    try:
        return node.ranges(name, root.address_cells, root.size_cells)
    except PropertyError:
        return None


def _number(node: Node, name: str, cells: int) -> int | None:
    try:
        return node.number(name, cells)
    except PropertyError:
        return None


def _barred(boot: _Boot, region: Region) -> bool:
    """``linux,cma-default`` gives way to ``cma=`` of the command line."""
    return region.cma and boot.assumptions.cma_on_cmdline and "linux,cma-default" in region.flags


def _rejected(region: Region, cause: Cause) -> Region:
    return replace(region, state=State.REJECTED, cause=cause)


def _reserve_static(boot: _Boot, region: Region) -> Region:
    """``__reserved_mem_reserve_reg``."""
    place = region.range
    assert place is not None
    if _barred(boot, region):
        return _rejected(region, Cause.CMDLINE)
    if not place.size:
        return _rejected(region, Cause.STATIC_SIZE_0)
    if "no-map" not in region.flags:
        boot.memblock.reserve(place)
        return region
    if boot.memblock.is_memory(place) and boot.memblock.is_reserved(place):
        return _rejected(region, Cause.NOMAP_BUSY)
    boot.memblock.mark_nomap(place)
    return region


def _place(boot: _Boot, node: Node, region: Region) -> Region:
    """``__reserved_mem_alloc_size``: choose the place of a dynamic region, then set it up there."""
    size, align = region.size, 0
    if size is None:
        return _rejected(region, Cause.SIZE_LENGTH)
    if node.flag("alignment"):
        if region.alignment is None:
            return _rejected(region, Cause.ALIGNMENT_LENGTH)
        align = region.alignment
    if _barred(boot, region):
        return _rejected(region, Cause.CMDLINE)
    if region.cma:
        align = max(align, cma_alignment(boot.assumptions, boot.arch))
    if not boot.known:
        return _set_up(boot, node, region, None)
    base = 0
    if region.alloc_ranges is None:
        base = boot.memblock.find(size, align or _CACHE_LINE, 0, ANYWHERE)
    for window in region.alloc_ranges or ():
        end = window.end & U64 or ANYWHERE
        base = boot.memblock.find(
            size, align or _CACHE_LINE, window.base, end, bottom_up=_bottom_up(boot, window)
        )
        if base:
            break
    if not base:
        return _rejected(region, Cause.NO_ROOM)
    place = Range(base, size)
    boot.memblock.reserve(place)
    if "no-map" in region.flags:
        boot.memblock.mark_nomap(place)
    return _set_up(boot, node, replace(region, placed=place), place)


def _bottom_up(boot: _Boot, window: Range) -> bool:
    """``__reserved_mem_alloc_in_range``: a window that begins at a region fills from below."""
    starts_at = any(item.size and item.base <= window.base <= item.end for item in boot.array)
    ends_at = any(item.size and item.base <= window.end & U64 <= item.end for item in boot.array)
    return starts_at and not ends_at


def _set_up(boot: _Boot, node: Node, region: Region, place: Range | None) -> Region:
    """``fdt_init_reserved_mem_node``: the driver's set-up; when it fails the memory is freed.

    :param place: None when RAM is not known; what depends on the place then counts as sound
    """
    cause = _driver(boot, node, region, place)
    if cause is None:
        if place is not None:
            boot.array.append(place)
        return region
    if place is not None:
        if "no-map" in region.flags:
            boot.memblock.clear_nomap(place)
        else:
            boot.memblock.free(place)
    return replace(region, state=State.FREED, cause=cause, placed=None)


def _driver(boot: _Boot, node: Node, region: Region, place: Range | None) -> Cause | None:
    """Why the driver that claims the node fails to set it up; None when none fails."""
    if node.is_compatible("restricted-dma-pool"):
        barred = ("reusable", "linux,cma-default", "linux,dma-default", "no-map")
        return Cause.RESTRICTED_FLAGS if any(node.flag(name) for name in barred) else None
    if not node.is_compatible("shared-dma-pool"):
        return None
    if not region.cma:
        coherent = not node.flag("reusable")
        unmapped = node.flag("no-map")
        return Cause.ARM_NEEDS_NOMAP if coherent and boot.arch is Arch.ARM and not unmapped else None
    size = place.size if place is not None else region.size
    base = place.base if place is not None else 0
    assert size is not None
    if (base | size) % cma_alignment(boot.assumptions, boot.arch):
        return Cause.CMA_MISALIGNED
    if not size:
        return Cause.CMA_SIZE_0
    if region.guaranteed and not boot.assumptions.gcma:
        return Cause.GCMA_DISABLED
    if boot.slots <= 0:
        return Cause.CMA_SLOTS
    boot.slots -= 1
    if node.flag("linux,cma-default"):
        boot.default_area = region.path
    return None
