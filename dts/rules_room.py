"""Rules about the room for a region that is placed at boot."""

from __future__ import annotations

from dts.finding import Severity
from dts.memblock import ANYWHERE, Memblock
from dts.range import Range, RangeSet, size_text, without
from dts.region import Cause, Kind, Region, State
from dts.rule import Case, Rule
from dts.tree import U64

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

RULES = (
    ALLOC_RANGES_TIGHT,
    NO_ROOM,
    ROOM_MISSING,
    PLACEMENT_DIRECTION,
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


CHECKS = (room,)
