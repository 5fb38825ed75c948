"""Rules about what a region that is placed at boot asks for: size, alignment, alloc-ranges."""

from __future__ import annotations

from dts.finding import Severity
from dts.range import size_text
from dts.region import Cause, Kind, Region, State
from dts.reserved import MAX_RESERVED_REGIONS
from dts.rule import Case, Rule, cells_text, plural
from dts.tree import Node, number

SIZE_CELLS = Rule(
    "size-cells",
    Severity.ERROR,
    "size has not the root's #size-cells",
    "__reserved_mem_alloc_size",
    "D1",
    'The region is not reserved; the log has "invalid size property".',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x0 0x400000>; };  /* root: #size-cells 1 */',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
ALIGNMENT_CELLS = Rule(
    "alignment-cells",
    Severity.ERROR,
    "alignment has not the length that the kernel reads",
    "__reserved_mem_alloc_size",
    "D2",
    "The kernel wants the length of the root's #address-cells, though the binding says size cells. On a "
    "root with different counts, such as the Raspberry Pi 4 with 2 and 1, the binding's form is rejected "
    'at boot with "invalid alignment property", and the region is lost.',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alignment = <0x400000>; };  /* '
    "root: 2/1 */",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alignment = <0x0 0x400000>; };',
)
ALIGNMENT_BINDING = Rule(
    "alignment-binding",
    Severity.NOTE,
    "alignment is as the kernel reads it, not as the binding says",
    None,
    "D2",
    "The binding measures alignment in size cells, the kernel in address cells of the root. Where these "
    "counts differ no form serves both; the kernel's is the one that boots. dt-validate does not notice.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alignment = <0x0 0x400000>; };  '
    "/* 2/1 */",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };  /* the kernel aligns CMA by '
    "itself */",
)
ALIGNMENT_UNUSED = Rule(
    "alignment-unused",
    Severity.NOTE,
    "alignment of a region with reg",
    None,
    "D2",
    "The kernel reads alignment only of regions that it places itself; with reg it has no effect, whatever "
    "its form.",
    'pool@20000000 { compatible = "shared-dma-pool"; reg = <0x0 0x20000000 0x400000>; alignment = '
    "<0x400000>; };",
    'pool@20000000 { compatible = "shared-dma-pool"; reg = <0x0 0x20000000 0x400000>; };',
)
ALIGNMENT_POWER = Rule(
    "alignment-power",
    Severity.ERROR,
    "alignment is no power of two",
    "memblock_find_in_range_node",
    "D3",
    "The kernel does not check it and uses the number as a bit mask: the region is aligned to something "
    "else.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x600000>; alignment = <0x0 0x600000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x600000>; alignment = <0x0 0x800000>; };',
)
ALIGNMENT_RAISED = Rule(
    "alignment-raised",
    Severity.NOTE,
    "alignment is smaller than a CMA area needs",
    "rmem_cma_validate",
    "D3",
    "The kernel raises the alignment of a CMA area to one pageblock (2 MiB on arm64 with 4 KiB pages, 32 "
    "MiB with 16 KiB, 512 MiB with 64 KiB, 4 MiB on arm).",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alignment = <0x0 0x1000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alignment = <0x0 0x200000>; };',
)
ALLOC_RANGES_LENGTH = Rule(
    "alloc-ranges-length",
    Severity.ERROR,
    "alloc-ranges is not a list of whole entries",
    "of_flat_dt_get_addr_size_prop",
    "D5",
    "The property is treated as absent, with no line in the log: the region goes to the highest free "
    "memory, which its devices may not reach.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alloc-ranges = <0x0 0x40000000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alloc-ranges = <0x0 0x0 '
    "0x40000000>; };",
)
ALLOC_RANGES_EMPTY = Rule(
    "alloc-ranges-empty",
    Severity.ERROR,
    "alloc-ranges has no entry",
    "__reserved_mem_alloc_size",
    "D5",
    "It is a whole number of entries, namely none: the kernel has no range to try, and the region is not "
    "reserved.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alloc-ranges; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; alloc-ranges = <0x0 0x0 '
    "0x40000000>; };",
)
TOO_MANY_DYNAMIC = Rule(
    "too-many-dynamic",
    Severity.ERROR,
    f"more than {MAX_RESERVED_REGIONS} dynamic regions",
    "fdt_scan_reserved_mem",
    "D10",
    f"The kernel notes {MAX_RESERVED_REGIONS} dynamic regions and skips the others with a line in the log.",
    "65 nodes with size and without reg",
    "64 nodes with size and without reg",
)

RULES = (
    SIZE_CELLS,
    ALIGNMENT_CELLS,
    ALIGNMENT_BINDING,
    ALIGNMENT_UNUSED,
    ALIGNMENT_POWER,
    ALIGNMENT_RAISED,
    ALLOC_RANGES_LENGTH,
    ALLOC_RANGES_EMPTY,
    TOO_MANY_DYNAMIC,
)


def form(case: Case) -> None:
    """The lengths of size, alignment and alloc-ranges."""
    root = case.tree.root
    address_cells, size_cells = root.address_cells, root.size_cells
    for node, region in case.live_regions():
        if region.kind is Kind.STATIC:
            if node.flag("alignment") and not node.flag("size"):
                case.report(
                    ALIGNMENT_UNUSED,
                    region.path,
                    f"{region.name}: it has reg, and the kernel never reads its alignment",
                    "leave alignment out",
                    prop="alignment",
                )
            continue
        if region.kind is not Kind.DYNAMIC or region.state is State.IGNORED:
            continue
        if region.cause is Cause.TOO_MANY_DYNAMIC:
            case.report(
                TOO_MANY_DYNAMIC,
                region.path,
                f"{region.name}: {MAX_RESERVED_REGIONS} dynamic regions are possible, and the kernel skips "
                "this one",
                "merge regions, or give some a reg",
            )
        if region.size is None:
            value = node.properties["size"]
            case.report(
                SIZE_CELLS,
                region.path,
                f"{region.name}: size should have {plural(size_cells, 'cell')} (the root's #size-cells) and "
                f"has {plural(len(value), 'byte')}, so the kernel rejects the region",
                f"write size = {cells_text(number(value), size_cells)}",
                prop="size",
            )
        _alignment(case, node, region, address_cells, size_cells)
        ranges = node.properties.get("alloc-ranges")
        if ranges is not None and region.alloc_ranges is None:
            case.report(
                ALLOC_RANGES_LENGTH,
                region.path,
                f"{region.name}: alloc-ranges should be entries of {address_cells}+{size_cells} cells "
                f"({4 * (address_cells + size_cells)} bytes) and has {plural(len(ranges), 'byte')}, so the "
                "kernel ignores it and places the region anywhere",
                "write address and size in the root's cells",
                prop="alloc-ranges",
            )
        elif region.alloc_ranges == ():
            case.report(
                ALLOC_RANGES_EMPTY,
                region.path,
                f"{region.name}: alloc-ranges is empty, so the kernel has no range to try and rejects the "
                "region",
                "write a range, or leave alloc-ranges out to allow all of RAM",
                prop="alloc-ranges",
            )


def _alignment(case: Case, node: Node, region: Region, address_cells: int, size_cells: int) -> None:
    value = node.properties.get("alignment")
    if value is None:
        return
    align = region.alignment
    if align is None:
        case.report(
            ALIGNMENT_CELLS,
            region.path,
            f"{region.name}: alignment should have {plural(address_cells, 'cell')} (the root's "
            f"#address-cells) and has {plural(len(value), 'byte')}, so the kernel rejects the region"
            + (" although the binding asks for this form" if len(value) == 4 * size_cells else ""),
            f"write alignment = {cells_text(number(value), address_cells)}",
            prop="alignment",
        )
        return
    if address_cells != size_cells:
        case.report(
            ALIGNMENT_BINDING,
            region.path,
            f"{region.name}: alignment has {plural(address_cells, 'cell')}, as the kernel reads it, where "
            f"the binding says {plural(size_cells, 'cell')} (#size-cells)",
            "keep it: the binding's form is rejected at boot",
            prop="alignment",
        )
    if align & (align - 1):
        case.report(
            ALIGNMENT_POWER,
            region.path,
            f"{region.name}: alignment {size_text(align)} is no power of two, and the kernel uses it as a "
            "bit mask",
            f"write alignment = {cells_text(1 << align.bit_length(), address_cells)}",
            prop="alignment",
        )
    elif region.cma and 0 < align < case.grid:
        case.report(
            ALIGNMENT_RAISED,
            region.path,
            f"{region.name}: alignment {size_text(align)} is smaller than the {size_text(case.grid)} of a "
            "CMA area, to which the kernel raises it",
            f"write alignment = {cells_text(case.grid, address_cells)}, or leave it out",
            prop="alignment",
        )


CHECKS = (form,)
