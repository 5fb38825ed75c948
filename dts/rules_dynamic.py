"""Rules about regions that the kernel places at boot: size, alignment, alloc-ranges, room."""

from __future__ import annotations

from dts.finding import Severity
from dts.memblock import ANYWHERE, Memblock
from dts.range import Range, RangeSet, size_text, without
from dts.region import Cause, Kind, Region, State
from dts.reserved import MAX_RESERVED_REGIONS
from dts.rule import Case, Rule, cells_text, plural
from dts.tree import U64, Node, number

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
ALLOC_RANGES_TIGHT = Rule(
    "alloc-ranges-tight",
    Severity.ERROR,
    "no range of alloc-ranges can hold the region",
    "__reserved_mem_alloc_in_range",
    "D5, D8",
    "The region must fit into one range with its alignment, clear of static regions and of page 0, which "
    "is never given out. No amount of RAM helps; the region is not reserved.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x20100000 0x400000>; };",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x20000000 0x400000>; };",
)
NO_ROOM = Rule(
    "no-room",
    Severity.ERROR,
    "RAM has no free run for the region",
    "__reserved_mem_alloc_size",
    "D7, D8",
    'No free run of the declared RAM is long enough; the log has "failed to allocate memory for node", and '
    "the region is not reserved.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x40000000>; };  /* with 960 MiB of RAM */',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x10000000>; };',
)
ROOM_MISSING = Rule(
    "room-missing",
    Severity.WARNING,
    "the declared RAM does not reach into alloc-ranges far enough",
    "__reserved_mem_alloc_in_range",
    "D5, D8",
    "The ranges could hold the region, the RAM in them cannot. With the tree as it stands the region is "
    "not reserved; a warning and no error, because many boards' firmware declares more RAM than the file.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x80000000 0x400000>; };",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x20000000 0x400000>; };",
)
PLACEMENT_DIRECTION = Rule(
    "placement-direction",
    Severity.NOTE,
    "a range that begins at a dynamic region is filled from below",
    "__reserved_mem_alloc_in_range",
    "D6",
    "Regions go to the top of their range. If the range begins inside or at the end of a dynamic region "
    "placed before, and does not end at one, the kernel fills it from below, to keep reserved memory in "
    "one piece.",
    'a { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x20000000 0x400000>; };\n"
    'b { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x20400000 0x4000000>; };",
    'a { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x20000000 0x400000>; };\n"
    'b { compatible = "shared-dma-pool"; reusable; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x24000000 0x4000000>; };",
)
PLACEMENT_ANYWHERE = Rule(
    "placement-anywhere",
    Severity.NOTE,
    "a CMA area without alloc-ranges on a machine whose RAM not all devices reach",
    "memblock_find_in_range_node",
    "D7",
    "Without alloc-ranges the region goes to the highest free memory, with no regard to DMA zones. Devices "
    "with fewer address bits cannot use it there.",
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>;\n'
    "       alloc-ranges = <0x0 0x0 0x40000000>; };",
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
    ALLOC_RANGES_TIGHT,
    NO_ROOM,
    ROOM_MISSING,
    PLACEMENT_DIRECTION,
    PLACEMENT_ANYWHERE,
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


def room(case: Case) -> None:
    """Whether and where there is room."""
    before: list[Range] = []
    static = [
        region.range
        for _, region in case.live_regions()
        if region.kind is Kind.STATIC and region.range is not None and region.state is not State.REJECTED
    ]
    for _, region in case.live_regions():
        if region.kind is not Kind.DYNAMIC:
            continue
        if region.cause is Cause.NO_ROOM and region.alloc_ranges != ():
            _no_room(case, region, [*static, *before])
        elif (
            region.state is State.DYNAMIC
            and region.alloc_ranges
            and not case.memory
            and not _fits(region, region.alloc_ranges, static, case)
        ):
            _tight(case, region)
        if region.placed is not None:
            window = next((item for item in region.alloc_ranges or () if item.holds(region.placed)), None)
            if window is not None and _from_below(window, before):
                case.report(
                    PLACEMENT_DIRECTION,
                    region.path,
                    f"{region.name}: its range {window} begins at a region placed before, so the kernel "
                    f"fills it from below and puts the region at {region.placed}",
                    "start the range elsewhere if the top is wanted",
                    prop="alloc-ranges",
                )
            before.append(region.placed)


def _from_below(window: Range, before: list[Range]) -> bool:
    starts = any(item.base <= window.base <= item.end for item in before)
    ends = any(item.base <= window.end & U64 <= item.end for item in before)
    return starts and not ends


def _fits(region: Region, windows: tuple[Range, ...], taken: list[Range], case: Case) -> bool:
    """Whether the region would fit if all of its windows were RAM."""
    block = Memblock(windows, case.assumptions.page_size)
    for item in (*taken, *case.assumptions.occupied):
        block.reserve(item)
    align = max(region.alignment or 1, case.grid if region.cma else 1)
    size = region.size or 0
    return any(block.find(size, align, item.base, item.end & U64 or ANYWHERE) for item in windows)


def _tight(case: Case, region: Region) -> None:
    case.hopeless.add(region.path)
    align = max(region.alignment or 1, case.grid if region.cma else 1)
    ranges = ", ".join(str(item) for item in (region.alloc_ranges or ())[:4])
    case.report(
        ALLOC_RANGES_TIGHT,
        region.path,
        f"{region.name}: {size_text(region.size or 0)} with an alignment of {size_text(align)} fits into no "
        f"range of alloc-ranges ({ranges}) clear of the other regions, so the kernel rejects the region",
        "widen the range, or shrink the region",
        prop="alloc-ranges",
    )


def _no_room(case: Case, region: Region, taken: list[Range]) -> None:
    size = region.size or 0
    if region.alloc_ranges and not _fits(region, region.alloc_ranges, taken, case):
        _tight(case, region)
        return
    free = without(case.memory, taken, case.assumptions.occupied)
    if region.alloc_ranges:
        inside = [part for part in free if any(part.overlaps(item) for item in region.alloc_ranges)]
        ram = RangeSet(case.memory)
        covered = sum(
            item.size - sum(gap.size for gap in without([item], ram)) for item in region.alloc_ranges
        )
        ranges = ", ".join(str(item) for item in region.alloc_ranges[:4])
        seen = (
            f"of which {size_text(covered)} is declared as RAM"
            if inside
            else "where the tree declares no free RAM"
        )
        case.report(
            ROOM_MISSING,
            region.path,
            f"{region.name}: {size_text(size)} should fit into alloc-ranges ({ranges}), {seen}, so the "
            "kernel rejects the region unless the firmware declares more",
            "move the range into the declared RAM, or declare the RAM that the board has",
            prop="alloc-ranges",
        )
        return
    case.hopeless.add(region.path)
    longest = max((part.size for part in free), default=0)
    case.report(
        NO_ROOM,
        region.path,
        f"{region.name}: it needs {size_text(size)} in one run, and the longest free run of RAM is "
        f"{size_text(longest)}, so the kernel rejects the region",
        "shrink it, or move static regions together",
        prop="size",
    )


CHECKS = (form, room)
