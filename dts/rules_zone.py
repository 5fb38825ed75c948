"""Rules about memory zones: areas across a boundary, areas beyond the reach of most devices."""

from __future__ import annotations

from dts.assumptions import Arch
from dts.finding import Severity
from dts.range import Range
from dts.region import Kind
from dts.rule import Case, Rule, cells_text

ZONE_CROSSING = Rule(
    "zone-crossing",
    Severity.ERROR,
    "a CMA area crosses a zone boundary",
    "cma_validate_zones",
    "P9",
    "All pages of a CMA area must be of one zone. On arm64 ZONE_DMA ends at the lowest CPU address limit "
    "of all enabled buses with dma-ranges (1 GiB on a Raspberry Pi 4), at most at 4 GiB, and ZONE_DMA32 at "
    '4 GiB. An area across a boundary "could not be activated": its memory goes to the page allocator, its '
    "size becomes 0. For an area that is placed by the RAM that the tree declares it is a warning: the "
    "firmware may declare other RAM.",
    'pool@3fe00000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x3fe00000 0x400000>; };',
    'pool@3fc00000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x3fc00000 0x400000>; };',
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
REACH_DEFAULT = Rule(
    "reach-default",
    Severity.NOTE,
    "the default CMA area lies beyond the reach of a bus",
    "of_dma_get_range",
    "reach",
    "Devices without memory-region allocate from the default area. Those on this bus cannot use what they "
    "get.",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; };\n"
    "pool@50000000 { reusable; linux,cma-default; reg = <0x0 0x50000000 0x400000>; };",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; };\n"
    "pool@20000000 { reusable; linux,cma-default; reg = <0x0 0x20000000 0x400000>; };",
)

RULES = (
    ZONE_CROSSING,
    PLACEMENT_ANYWHERE,
    REACH_DEFAULT,
)


def zones(case: Case) -> None:
    """Areas that lie in two zones, or that may come to lie where few devices reach."""
    if case.arch is not Arch.ARM64:
        return  # its zones hang on the kernel's configuration
    areas = [region for _, region in case.live_regions() if region.cma and region.live]
    if not areas:
        return
    last = case.zone_dma_last
    low = not case.memory or min(bank.base for bank in case.memory) < 1 << 32
    dma_end = min(last, (1 << 32) - 1) + 1 if last is not None and low else (last or (1 << 32) - 1) + 1
    boundaries = {dma_end: "the end of ZONE_DMA", 1 << 32: "4 GiB, the end of ZONE_DMA32"}
    for region in areas:
        place = region.range
        for boundary, name in boundaries.items():
            if place is not None and place.base < boundary < place.end:
                case.report(
                    ZONE_CROSSING,
                    region.path,
                    f"{region.name}: the area {place} crosses {boundary:#x} ({name}), and the kernel does "
                    "not activate it",
                    f"keep it below or above {boundary:#x}"
                    + (" with alloc-ranges" if region.kind is Kind.DYNAMIC else ""),
                    prop="reg" if region.kind is Kind.STATIC else "alloc-ranges",
                    severity=None if region.kind is Kind.STATIC or case.memory_certain else Severity.WARNING,
                )
        if region.default and place is not None and place.base >= dma_end:
            case.report(
                REACH_DEFAULT,
                region.path,
                f"{region.name}: the default area {place} lies beyond {dma_end:#x}, where the reach of some "
                "bus ends, and devices there cannot use it",
                f"move it below {dma_end:#x}, or give those devices a memory-region",
            )
        top = max((bank.end for bank in case.memory), default=0)
        if region.kind is Kind.DYNAMIC and region.alloc_ranges is None and top > dma_end:
            case.report(
                PLACEMENT_ANYWHERE,
                region.path,
                f"{region.name}: without alloc-ranges it goes to the highest free RAM"
                + (f" ({region.placed})" if region.placed is not None else "")
                + f", and some devices reach only below {dma_end:#x}",
                f"add alloc-ranges = {_window(case, Range(0, dma_end))} if they use it",
            )


def _window(case: Case, window: Range) -> str:
    root = case.tree.root
    base = cells_text(window.base, root.address_cells)[1:-1]
    return f"<{base} {cells_text(window.size, root.size_cells)[1:-1]}>"


CHECKS = (zones,)
