"""Rules about CMA areas, guaranteed ones, and coherent pools."""

from __future__ import annotations

from dts.assumptions import Arch, cma_areas
from dts.finding import Severity
from dts.range import Range, size_text
from dts.region import Cause, Kind, Region
from dts.rule import Case, Rule, cells_text, plural
from dts.rules_dynamic import PLACEMENT_ANYWHERE
from dts.tree import Node

CMA_NAME_BYTES = 64  # CMA_MAX_NAME, with the terminating NUL

CMA_ALIGNMENT = Rule(
    "cma-alignment",
    Severity.ERROR,
    "a static CMA area does not lie on the pageblock grid",
    "rmem_cma_setup",
    "S6",
    "Base and size of a CMA area must be multiples of one pageblock (2 MiB on arm64 with 4 KiB pages). The "
    'kernel reserves the region, refuses to set it up ("incorrect alignment of CMA region") and frees it '
    "again: it becomes ordinary memory, and its users fall back to the default area.",
    'pool@20100000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20100000 0x400000>; };',
    'pool@20000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20000000 0x400000>; };',
)
CMA_SIZE = Rule(
    "cma-size",
    Severity.ERROR,
    "the size of a dynamic CMA area is not a multiple of a pageblock",
    "rmem_cma_setup",
    "D4",
    "The kernel raises the alignment of a CMA area but does not round its size: the memory is found, the "
    'set-up fails ("incorrect alignment of CMA region"), and the memory is freed.',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x500000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x600000>; };',
)
CMA_SIZE_ZERO = Rule(
    "cma-size-zero",
    Severity.ERROR,
    "a CMA area of size 0",
    "cma_init_reserved_mem",
    "P8",
    'The set-up fails with "unable to setup CMA region". The same answer meets a range that is not reserved.',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x0>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
CMA_SLOTS = Rule(
    "cma-slots",
    Severity.ERROR,
    "more CMA areas than the kernel has slots",
    "cma_new_area",
    "P7, P10",
    "CONFIG_CMA_AREAS is 20 with NUMA (arm64) and 8 without; dynamic areas take slots first, in document "
    'order, then static ones. The log has "Not enough slots for CMA reserved regions!", and the memory is '
    "freed. The list of dma-buf heaps is as long and cannot overflow before.",
    '21 nodes with compatible = "shared-dma-pool" and reusable',
    "20 of them, or a kernel with a larger CONFIG_CMA_AREAS",
)
CMA_NAME = Rule(
    "cma-name",
    Severity.NOTE,
    "the name of a CMA area is cut",
    "cma_new_area",
    "P7",
    f"An area is called after its node; the kernel keeps {CMA_NAME_BYTES - 1} letters, and sysfs and the "
    "log show those.",
    "a-pool-with-a-name-of-more-than-sixty-three-letters-which-are-too-many { ... };",
    "pool { ... };",
)
DEFAULT_CMDLINE = Rule(
    "default-cmdline",
    Severity.WARNING,
    "linux,cma-default gives way to cma= on the command line",
    "__rmem_cma_verify_node",
    "S1, P4, G3",
    "With cma= of whatever value, also cma=0, the kernel neither reserves nor places this region. The area "
    "that cma= makes is never a guaranteed one.",
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };  /* cma=64M '
    "*/",
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };  /* no cma= '
    "*/",
)
TWO_DEFAULTS = Rule(
    "two-defaults",
    Severity.ERROR,
    "more than one default CMA area",
    "rmem_cma_setup",
    "P5, D9",
    "Each is created and the last one set up becomes the default, with no line in the log; dynamic areas "
    "are set up first, in document order, then static ones.",
    'a { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };\n'
    'b { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };',
    'a { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };\n'
    'b { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
DEFAULT_STATIC = Rule(
    "default-static",
    Severity.WARNING,
    "a static default area comes too late on 32-bit arm",
    "dma_contiguous_reserve",
    "S7, P6",
    "Static regions are set up when the tree is unflattened. On 32-bit arm this is after the kernel has "
    "made its own default area of CONFIG_CMA_SIZE_MBYTES: both exist, and memory is lost to the first. A "
    "dynamic area is set up in time; on arm64 both are.",
    'pool@20000000 { compatible = "shared-dma-pool"; reusable; linux,cma-default; reg = <0x20000000 '
    "0x400000>; };",
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };',
)
DEFAULT_UNUSED = Rule(
    "default-unused",
    Severity.WARNING,
    "linux,cma-default on a region that is no CMA area",
    "rmem_cma_setup",
    "P1",
    "Only a shared-dma-pool with reusable and without no-map can be the default CMA area; elsewhere "
    "nothing reads the flag, and the kernel makes its own default area.",
    'pool { compatible = "shared-dma-pool"; linux,cma-default; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };',
)
COHERENT_MAPPED = Rule(
    "coherent-mapped",
    Severity.ERROR,
    "a coherent pool without no-map on 32-bit arm",
    "rmem_dma_setup",
    "P3",
    "A shared-dma-pool without reusable is a pool of coherent memory. 32-bit arm cannot map such memory "
    'twice and demands no-map ("regions without no-map are not yet supported"); the memory is freed. On '
    "arm64 it is accepted.",
    'pool { compatible = "shared-dma-pool"; size = <0x400000>; };  /* on arm */',
    'pool { compatible = "shared-dma-pool"; no-map; size = <0x400000>; };',
)
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
GUARANTEED_NOT_CMA = Rule(
    "guaranteed-not-cma",
    Severity.ERROR,
    "guaranteed on a region that is no CMA area",
    "rmem_cma_setup",
    "G1",
    "The flag is read when a CMA area is set up, so only of a shared-dma-pool with reusable and without "
    "no-map; elsewhere it has no effect and nothing is guaranteed.",
    'pool { compatible = "shared-dma-pool"; guaranteed; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; guaranteed; size = <0x400000>; };',
)
GUARANTEE_SPELLING = Rule(
    "guarantee-spelling",
    Severity.NOTE,
    "the posted series' spelling of guaranteed",
    "rmem_cma_setup",
    "G1",
    "The patches of 2025 read `guarantee`; the name of the property is `guaranteed`. Both are taken for "
    "the same; a region with both is one area.",
    'pool { compatible = "shared-dma-pool"; reusable; guarantee; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; guaranteed; size = <0x400000>; };',
)
GCMA_DISABLED = Rule(
    "gcma-disabled",
    Severity.ERROR,
    "guaranteed in a kernel without CONFIG_GCMA",
    "rmem_cma_setup",
    "G2",
    "Such a kernel refuses the region and frees its memory; it does not make a plain CMA area of it. (A "
    "kernel without the patches at all does: it does not know the property.)",
    'pool { compatible = "shared-dma-pool"; reusable; guaranteed; size = <0x400000>; };  /* CONFIG_GCMA=n */',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
GUARANTEED_BINDING = Rule(
    "guaranteed-binding",
    Severity.NOTE,
    "guaranteed is not yet in the published binding",
    None,
    "G4",
    "dt-schema's shared-dma-pool.yaml allows no further property, so dt-validate reports the flag. The "
    "schema in dts/bindings/ takes its place and knows the flag.",
    "dt-validate board.dtb",
    "dt-validate -s processed-schema.json board.dtb  # processed with dts/bindings, see docs/check.md",
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
    CMA_ALIGNMENT,
    CMA_SIZE,
    CMA_SIZE_ZERO,
    CMA_SLOTS,
    CMA_NAME,
    DEFAULT_CMDLINE,
    TWO_DEFAULTS,
    DEFAULT_STATIC,
    DEFAULT_UNUSED,
    COHERENT_MAPPED,
    ZONE_CROSSING,
    GUARANTEED_NOT_CMA,
    GUARANTEE_SPELLING,
    GCMA_DISABLED,
    GUARANTEED_BINDING,
    REACH_DEFAULT,
)


def set_up(case: Case) -> None:
    """What makes the set-up of an area fail."""
    for node, region in case.live_regions():
        if region.cause is Cause.CMA_MISALIGNED:
            _misaligned(case, region)
        elif region.cause is Cause.CMA_SIZE_0:
            case.report(
                CMA_SIZE_ZERO,
                region.path,
                f"{region.name}: a CMA area of size 0 cannot be set up",
                "write its size",
                prop="size",
            )
        elif region.cause is Cause.CMA_SLOTS:
            slots = cma_areas(case.assumptions, case.arch)
            case.report(
                CMA_SLOTS,
                region.path,
                f"{region.name}: the kernel has {plural(slots, 'slot')} for CMA areas, all are taken, and "
                "it frees this one",
                "use fewer areas, or a kernel with a larger CONFIG_CMA_AREAS",
            )
        elif region.cause is Cause.GCMA_DISABLED:
            case.report(
                GCMA_DISABLED,
                region.path,
                f"{region.name}: it asks for guaranteed CMA, and a kernel with CONFIG_GCMA=n frees it",
                "enable CONFIG_GCMA, or leave the flag out for plain CMA",
                prop=_guarantee(node),
            )
        elif region.cause is Cause.ARM_NEEDS_NOMAP:
            case.report(
                COHERENT_MAPPED,
                region.path,
                f"{region.name}: on 32-bit arm a shared-dma-pool without reusable needs no-map, and the "
                "kernel frees this one",
                "add no-map, or reusable for a CMA area",
            )
        if region.cma and region.live and len(region.name.encode("latin-1", "replace")) >= CMA_NAME_BYTES:
            case.report(
                CMA_NAME,
                region.path,
                f"{region.name}: the area's name has {len(region.name)} letters, and the kernel keeps "
                f"{CMA_NAME_BYTES - 1}",
                "take a shorter name",
            )


def _misaligned(case: Case, region: Region) -> None:
    grid = case.grid
    if region.kind is Kind.STATIC:
        assert region.reg is not None
        place = region.reg[0]
        base = place.base // grid * grid
        end = -(-place.end // grid) * grid
        root = case.tree.root
        case.report(
            CMA_ALIGNMENT,
            region.path,
            f"{region.name}: base {place.base:#x} and size {place.size:#x} should be multiples of "
            f"{size_text(grid)}, so the kernel reserves the region and frees it again",
            f"write reg = <{cells_text(base, root.address_cells)[1:-1]} "
            f"{cells_text(end - base, root.size_cells)[1:-1]}>",
            prop="reg",
        )
        return
    size = region.size or 0
    rounded = -(-size // grid) * grid
    case.report(
        CMA_SIZE,
        region.path,
        f"{region.name}: size {size:#x} should be a multiple of {size_text(grid)}, so the kernel finds the "
        "memory, refuses to set it up and frees it",
        f"write size = {cells_text(rounded, case.tree.root.size_cells)} ({size_text(rounded)})",
        prop="size",
    )


def _guarantee(node: Node) -> str:
    return "guaranteed" if node.flag("guaranteed") else "guarantee"


def defaults(case: Case) -> None:
    """The default area."""
    rivals = []
    chosen = case.tree.find("/chosen")
    line = chosen.properties.get("bootargs", b"") if chosen is not None else b""
    words = line.partition(b"\0")[0].decode("latin-1").split()
    bootargs = next((word for word in words if word.startswith("cma=")), None)
    for node, region in case.live_regions():
        if not node.flag("linux,cma-default"):
            continue
        if region.cause is Cause.CMDLINE:
            lost = " and its guarantee" if region.guaranteed else ""
            case.report(
                DEFAULT_CMDLINE,
                region.path,
                f"{region.name}: cma= is on the command line, so the kernel skips this default area{lost}",
                "leave cma= out, or linux,cma-default",
                prop="linux,cma-default",
            )
        elif region.cma and region.live:
            rivals.append(region)
            if bootargs:
                case.report(
                    DEFAULT_CMDLINE,
                    region.path,
                    f"{region.name}: bootargs in /chosen has {bootargs}, so the kernel skips this default "
                    "area unless the firmware gives another command line",
                    "leave cma= out of bootargs, or linux,cma-default",
                    prop="linux,cma-default",
                )
        elif not region.cma and node.is_compatible("shared-dma-pool") and region.live:
            case.report(
                DEFAULT_UNUSED,
                region.path,
                f"{region.name}: linux,cma-default has no effect, since the region is no CMA area",
                "add reusable and leave out no-map, or leave out linux,cma-default",
                prop="linux,cma-default",
            )
    winner = next((region for region in rivals if region.default), None)
    for region in rivals:
        if winner is not None and region is not winner:
            case.report(
                TWO_DEFAULTS,
                region.path,
                f"{region.name}: linux,cma-default is also on {winner.name}, which is set up later and "
                "becomes the default",
                "keep the flag on one region",
                prop="linux,cma-default",
            )
    if winner is not None and winner.kind is Kind.STATIC and case.arch is Arch.ARM:
        case.report(
            DEFAULT_STATIC,
            winner.path,
            f"{winner.name}: a default area with reg is set up after 32-bit arm has made its own, so there "
            "will be two",
            "give it a size and alloc-ranges instead of reg",
            prop="reg",
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


def guarantee(case: Case) -> None:
    """The flag of guaranteed CMA."""
    for node, region in case.live_regions():
        if not (node.flag("guaranteed") or node.flag("guarantee")):
            continue
        prop = _guarantee(node)
        if not region.cma:
            missing = (
                'compatible = "shared-dma-pool"'
                if not node.is_compatible("shared-dma-pool")
                else "reusable"
                if not node.flag("reusable")
                else None
            )
            case.report(
                GUARANTEED_NOT_CMA,
                region.path,
                f"{region.name}: {prop} has no effect, since the region is no CMA area",
                f"add {missing}" if missing is not None else "leave out no-map",
                prop=prop,
            )
            continue
        if node.flag("guarantee"):
            both = node.flag("guaranteed")
            case.report(
                GUARANTEE_SPELLING,
                region.path,
                f"{region.name}: "
                + (
                    "it has guaranteed and guarantee, which is one guaranteed area"
                    if both
                    else "guarantee, as the posted series spells it, is taken for guaranteed"
                ),
                "write guaranteed" if not both else "keep guaranteed alone",
                prop="guarantee",
            )
        case.report(
            GUARANTEED_BINDING,
            region.path,
            f"{region.name}: the published binding does not know {prop}, so dt-validate will report it",
            "validate with the schema in dts/bindings",
            prop=prop,
        )


CHECKS = (set_up, defaults, zones, guarantee)
