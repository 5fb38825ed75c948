"""Rules about where regions lie: in RAM, on pages, apart from each other."""

from __future__ import annotations

from dts.finding import Severity
from dts.range import Range, RangeSet, size_text, without
from dts.region import Cause, Kind, State
from dts.rule import Case, Rule

REG_WRAPS = Rule(
    "reg-wraps",
    Severity.ERROR,
    "a range runs over the end of the address space",
    "memblock_cap_size",
    "",
    "Base and size add up to more than 64 bits hold (32 bits on a 32-bit arm without LPAE): the range is "
    "cut at the end of the address space. Mostly a cell is missing or swapped.",
    "pool@20000000 { reg = <0x20000000 0x400000 0xf0000000>; };",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; };",
)
STATIC_SIZE_ZERO = Rule(
    "static-size-zero",
    Severity.ERROR,
    "a static region has size 0",
    "__reserved_mem_reserve_reg",
    "S2",
    'Nothing is reserved, and the log has "failed to reserve memory for node". It is often a placeholder '
    "that the firmware should have filled in.",
    "pool@20000000 { reg = <0x0 0x20000000 0x0>; };",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; };",
)
OUTSIDE_MEMORY = Rule(
    "outside-memory",
    Severity.WARNING,
    "a CMA area lies outside of RAM",
    "memblock_reserve",
    "S3",
    "The kernel reserves any range, also one without RAM behind it, and creates the area; on arm64 it then "
    "stops with a paging fault when it sets up the area's pages. A warning and no error, because the "
    "firmware may add RAM to what the tree declares.",
    'pool@80000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x80000000 0x400000>; };',
    'pool@20000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20000000 0x400000>; };',
)
NOMAP_BUSY = Rule(
    "nomap-busy",
    Severity.ERROR,
    "a no-map region lies over memory that is already reserved",
    "early_init_dt_reserve_memory",
    "S4, S5",
    'A mapped reservation before it wins, and the region stays mapped: the log has "failed to reserve '
    'memory for node", yet the region is listed and its users get it, without the protection that no-map '
    "promises.",
    "a@20000000 { reg = <0x0 0x20000000 0x800000>; }; b@20400000 { no-map; reg = <0x0 0x20400000 "
    "0x400000>; };",
    "a@20000000 { reg = <0x0 0x20000000 0x400000>; }; b@20400000 { no-map; reg = <0x0 0x20400000 "
    "0x400000>; };",
)
NO_MAP_PAGE = Rule(
    "no-map-page",
    Severity.ERROR,
    "a no-map region does not begin and end on a page",
    "memblock_mark_nomap",
    "",
    "The page at its edge is left out of the kernel's map, and the rest of that page stays free memory, "
    "which the early allocator may give out: the kernel then stops with a paging fault before its console "
    "is up (seen on Linux 7.3.4, arm64, with such a region at the top of RAM). Elsewhere it may go well, "
    "so that for a region with reg it is a note.",
    "log { no-map; size = <0x1800>; };",
    "log { no-map; size = <0x2000>; };",
)
OVERLAP = Rule(
    "overlap",
    Severity.ERROR,
    "two regions share memory",
    "__rmem_check_for_overlap",
    "S8",
    "The kernel sets up both and prints a line, and compares neighbours only, so it misses some pairs; "
    "here all are compared. With a CMA area it is an error: pages of the other region are handed out to "
    "anyone. Between other regions it is a warning.",
    'a@20000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20000000 0x800000>; };\n'
    "b@20400000 { reg = <0x0 0x20400000 0x400000>; };",
    'a@20000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20000000 0x400000>; };\n'
    "b@20400000 { reg = <0x0 0x20400000 0x400000>; };",
)
MEMRESERVE_OVERLAP = Rule(
    "memreserve-overlap",
    Severity.ERROR,
    "a region shares memory with /memreserve/",
    "early_init_fdt_scan_reserved_mem",
    "S3",
    "The kernel reserves the entries of /memreserve/ after it has placed the dynamic regions, which "
    "therefore do not avoid them; and a CMA area over an entry hands its memory out.",
    "/memreserve/ 0x20000000 0x1000; ... pool@20000000 { reusable; reg = <0x0 0x20000000 0x400000>; };",
    "/memreserve/ 0x20000000 0x1000; ... pool@20400000 { reusable; reg = <0x0 0x20400000 0x400000>; };",
)
OCCUPIED_OVERLAP = Rule(
    "occupied-overlap",
    Severity.ERROR,
    "a region lies over what the firmware loads",
    "memblock_reserve",
    "S3",
    "The kernel accepts a static region over its own image, the initrd or the devicetree blob, since a "
    "reservation may overlap anything. It is found only where the caller says what is loaded where, as "
    "`gcma test` does.",
    'pool@200000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x200000 0x400000>; };',
    'pool@20000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20000000 0x400000>; };',
)

RULES = (
    REG_WRAPS,
    STATIC_SIZE_ZERO,
    OUTSIDE_MEMORY,
    NOMAP_BUSY,
    NO_MAP_PAGE,
    OVERLAP,
    MEMRESERVE_OVERLAP,
    OCCUPIED_OVERLAP,
)


def places(case: Case) -> None:
    """Where static regions lie."""
    ram = RangeSet(case.memory)
    top = 1 << 64
    for _, region in case.live_regions():
        for name, ranges in (("reg", region.reg), ("alloc-ranges", region.alloc_ranges)):
            for item in ranges or ():
                if item.end > top:
                    case.report(
                        REG_WRAPS,
                        region.path,
                        f"{region.name}: {name} has {item.base:#x} + {item.size:#x}, which runs over the "
                        "end of the 64-bit address space",
                        "check the number and order of its cells",
                        prop=name,
                    )
        place = region.range
        if region.kind is not Kind.STATIC or place is None or region.state is State.IGNORED:
            continue
        if region.cause is Cause.STATIC_SIZE_0:
            case.report(
                STATIC_SIZE_ZERO,
                region.path,
                f"{region.name}: reg has size 0, and the kernel reserves nothing",
                "write the size, or disable the node until the firmware fills it in",
                prop="reg",
            )
        if region.cause is Cause.NOMAP_BUSY:
            case.report(
                NOMAP_BUSY,
                region.path,
                f"{region.name}: no-map is refused because a part of {place} is reserved before it, and the "
                "memory stays mapped",
                "keep the ranges apart",
                prop="reg",
            )
        if case.memory and region.cma and region.live and not ram.holds(place):
            missing = sum(part.size for part in without([place], case.memory))
            case.report(
                OUTSIDE_MEMORY,
                region.path,
                f"{region.name}: the CMA area {place} has {size_text(missing)} outside of the RAM that the "
                "tree declares, and the kernel faults when it sets the area up",
                "move it into RAM, or declare the RAM that the firmware adds",
                prop="reg",
            )


def pages(case: Case) -> None:
    """Edges of what is not mapped."""
    page = case.assumptions.page_size
    for _, region in case.live_regions():
        if "no-map" not in region.flags or not region.live:
            continue
        place, size = region.range, region.size or 0
        if place is not None and (place.base | place.size) % page:
            seen = f"{place.base:#x} and {place.size:#x} are not multiples"
        elif place is None and size % page:
            seen = f"{size:#x} is not a multiple"
        else:
            continue
        case.report(
            NO_MAP_PAGE,
            region.path,
            f"{region.name}: it is not mapped, so its edges should lie on pages, and {seen} of "
            f"{size_text(page)}",
            "round its base down and its size up"
            if region.kind is Kind.STATIC
            else f"round its size up, and give it an alignment of {size_text(page)}",
            prop="reg" if region.kind is Kind.STATIC else "size",
            severity=Severity.NOTE if region.kind is Kind.STATIC else None,
        )


def overlaps(case: Case) -> None:
    """Regions over one another, over ``/memreserve/``, and over what is loaded."""
    for first, second in case.overlaps:
        one, two = first.range, second.range
        assert one is not None
        assert two is not None
        shared = Range(max(one.base, two.base), min(one.end, two.end) - max(one.base, two.base))
        pool = first.cma or second.cma
        case.report(
            OVERLAP,
            second.path,
            f"{second.name}: it shares {size_text(shared.size)} ({shared}) with {first.name}"
            + (", and one of them is a CMA area, whose pages are handed out" if pool else ""),
            "move or shrink one of them",
            prop="reg" if second.kind is Kind.STATIC else None,
            severity=Severity.ERROR if pool else Severity.WARNING,
        )
    for _, region in case.live_regions():
        place = region.range
        if place is None or not region.live or not (region.cma or region.kind is Kind.DYNAMIC):
            continue
        for rule, what, others in (
            (MEMRESERVE_OVERLAP, "the /memreserve/ entry", case.tree.memreserve),
            (OCCUPIED_OVERLAP, "memory that is loaded before boot,", case.assumptions.occupied),
        ):
            for other in others:
                if place.overlaps(other):
                    case.report(
                        rule,
                        region.path,
                        f"{region.name}: {place} shares memory with {what} {other}",
                        "move the region" if region.kind is Kind.STATIC else "keep alloc-ranges clear of it",
                        prop="reg" if region.kind is Kind.STATIC else None,
                    )


CHECKS = (places, pages, overlaps)
