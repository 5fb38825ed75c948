"""Rules about room: for a region that is placed at boot, and for the kernel beside the regions."""

from __future__ import annotations

from dts.assumptions import Arch
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
KERNEL_ROOM = Rule(
    "kernel-room",
    Severity.WARNING,
    "the regions leave the kernel too little memory",
    "sparse_init_nid",
    "R1",
    "The kernel's map of all pages, 64 bytes for each page of every section of 128 MiB that has RAM, comes "
    "out of what no region took, after the kernel's own default CMA area. Without room for it Linux 7.3 "
    'panics ("Failed to allocate memmap for section"). The size of the kernel, its initramfs and its page '
    "tables is the boot's where it is known, else 64 MiB (the image of Debian's 7.3 has 50 MiB). An error "
    "where RAM is certain and not even the map fits.",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x33c00000>; };  /* 828 of 960 MiB */',
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x33c00000>; };',
)

RULES = (
    ALLOC_RANGES_TIGHT,
    NO_ROOM,
    ROOM_MISSING,
    PLACEMENT_DIRECTION,
    KERNEL_ROOM,
)
STRUCT_PAGE_BYTES = 64
SECTION_BYTES = {4096: 128 << 20, 16384: 128 << 20, 65536: 512 << 20}  # arch/arm64: asm/sparsemem.h
DEFAULT_AREA_BYTES = 64 << 20  # CONFIG_CMA_SIZE_MBYTES of Debian; mm/Kconfig has 16
KERNEL_BYTES = 64 << 20


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


def kernel(case: Case) -> None:
    """Whether a kernel can live in what the regions leave."""
    taken = [region.range for _, region in case.live_regions() if region.live and region.range is not None]
    if case.arch is not Arch.ARM64 or not case.memory or not taken:
        return
    occupied = case.assumptions.occupied
    spared = _left(case, [])
    left = _left(case, taken)
    own = 0
    if not _has_default(case):
        block = Memblock(case.memory, case.assumptions.page_size)
        for item in (*taken, *case.tree.memreserve, *occupied):
            block.reserve(item)
        if block.find(DEFAULT_AREA_BYTES, case.grid, 0, ANYWHERE):
            own = DEFAULT_AREA_BYTES
    page_map = _page_map(case)
    needed = page_map + own + (0 if occupied else KERNEL_BYTES)
    if left >= needed or spared < needed:
        return
    own_area = f" and {size_text(own)} for a default CMA area of its own" if own else ""
    image = "" if occupied else f", besides some {size_text(KERNEL_BYTES)} of code and tables"
    case.report(
        KERNEL_ROOM,
        "/reserved-memory",
        f"/reserved-memory: the regions leave {_mib(left)} of RAM, and the kernel needs {_mib(page_map)} for "
        f"its map of all pages{own_area}{image}, so it panics at boot",
        "shrink the regions" + (", or make a CMA area the default with linux,cma-default" if own else ""),
        severity=Severity.ERROR if left < page_map and case.memory_certain else None,
    )


def _left(case: Case, taken: list[Range]) -> int:
    """Bytes of RAM that neither these regions nor anything else from before the boot takes."""
    free = without(case.memory, taken, case.tree.memreserve, case.assumptions.occupied)
    return sum(part.size for part in free)


def _page_map(case: Case) -> int:
    """Bytes of ``struct page`` for every section of memory that has RAM."""
    page = case.assumptions.page_size
    section = SECTION_BYTES[page]
    sections = RangeSet()
    for bank in case.memory:
        base = bank.base // section * section
        sections.add(Range(base, -(-bank.end // section) * section - base))
    return sum(item.size for item in sections) // page * STRUCT_PAGE_BYTES


def _has_default(case: Case) -> bool:
    """Whether the kernel makes no default area of CONFIG_CMA_SIZE_MBYTES (``dma_contiguous_reserve``)."""
    return case.assumptions.cma_on_cmdline or any(region.default for region in case.regions.values())


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.4g} MiB"


CHECKS = (room, kernel)
