"""Rules about any reserved region: status, reg, size, flags, and where static regions lie."""

from __future__ import annotations

from dts.finding import Severity
from dts.range import Range, RangeSet, size_text, without
from dts.region import Cause, Kind, State
from dts.rule import Case, Rule, plural

STATUS_UNKNOWN = Rule(
    "status-unknown",
    Severity.WARNING,
    "status has a word that switches the region off by accident",
    "of_fdt_device_is_available",
    "C1",
    'Only an absent status, "ok" and "okay" enable a node; any other text disables it, with no line in the '
    "log. The specification knows okay, disabled, reserved, fail and fail-...",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; status = "enabled"; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; status = "okay"; };',
)
REG_LENGTH = Rule(
    "reg-length",
    Severity.ERROR,
    "reg is not a list of whole entries",
    "of_flat_dt_get_addr_size_prop",
    "C4",
    "A reg whose length is no multiple of an entry in the root's cells, or that is empty, is treated as "
    "absent: the region is placed by its size, or, without one, is ignored in silence.",
    "pool@20000000 { reg = <0x20000000 0x400000>; };  /* root: 2 and 1 cells */",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; };",
)
REG_AND_SIZE = Rule(
    "reg-and-size",
    Severity.WARNING,
    "a region has both reg and size",
    "fdt_scan_reserved_mem",
    "C4",
    "reg wins: size, alignment and alloc-ranges are not read. The binding allows one of the two.",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; size = <0x800000>; };",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; };",
)
REG_ENTRIES = Rule(
    "reg-entries",
    Severity.WARNING,
    "reg has more than one entry",
    "__reserved_mem_reserve_reg",
    "C5",
    "Only the first entry is reserved; the memory of the others stays ordinary memory. Linux 7.3 says so "
    "in its log, older kernels reserve them but set up no region there.",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>, <0x0 0x28000000 0x400000>; };",
    "pool-a@20000000 { reg = <0x0 0x20000000 0x400000>; }; pool-b@28000000 { reg = <0x0 0x28000000 "
    "0x400000>; };",
)
NO_MEMORY = Rule(
    "no-memory",
    Severity.ERROR,
    "a region has neither reg nor size",
    "fdt_scan_reserved_mem",
    "C6",
    "The node is ignored, with no line in the log; whoever refers to it gets an error when its driver asks.",
    'pool { compatible = "shared-dma-pool"; reusable; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
RESTRICTED_FLAGS = Rule(
    "restricted-flags",
    Severity.ERROR,
    "a restricted-dma-pool has a flag that it must not have",
    "rmem_swiotlb_setup",
    "C7",
    "The driver that claims a node may refuse it; then the memory is freed again. The restricted pool "
    "refuses reusable, no-map, linux,cma-default and linux,dma-default.",
    'bounce { compatible = "restricted-dma-pool"; reusable; size = <0x400000>; };',
    'bounce { compatible = "restricted-dma-pool"; size = <0x400000>; };',
)
FLAG_VALUE = Rule(
    "flag-value",
    Severity.WARNING,
    "a flag has a value",
    "of_get_flat_dt_prop",
    "P1",
    "The kernel asks only whether the property is there: reusable = <0> switches it on.",
    'pool { compatible = "shared-dma-pool"; reusable = <0>; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; size = <0x400000>; };',
)
REUSABLE_NO_MAP = Rule(
    "reusable-no-map",
    Severity.ERROR,
    "a region is both reusable and no-map",
    "__rmem_cma_verify_node",
    "P2",
    "The binding forbids it. No driver takes such a shared-dma-pool: not CMA, because of no-map, and not "
    "the coherent pool, because of reusable. Linux 7.3 keeps it as a plain unmapped hole (6.12 drops it), "
    "so the memory is lost.",
    'pool { compatible = "shared-dma-pool"; reusable; no-map; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
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
UNIT_ADDRESS = Rule(
    "unit-address",
    Severity.NOTE,
    "the unit address is not the address in reg",
    None,
    "",
    "The binding wants name@address for a region with reg, with the address in reg, and no unit address "
    "without reg. The kernel does not look; users of the region find it by this name.",
    "pool@0 { reg = <0x0 0x20000000 0x400000>; };",
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
    STATUS_UNKNOWN,
    REG_LENGTH,
    REG_AND_SIZE,
    REG_ENTRIES,
    NO_MEMORY,
    RESTRICTED_FLAGS,
    FLAG_VALUE,
    REUSABLE_NO_MAP,
    REG_WRAPS,
    UNIT_ADDRESS,
    STATIC_SIZE_ZERO,
    OUTSIDE_MEMORY,
    NOMAP_BUSY,
    NO_MAP_PAGE,
    OVERLAP,
    MEMRESERVE_OVERLAP,
    OCCUPIED_OVERLAP,
)
_FLAGS = ("reusable", "no-map", "guaranteed", "guarantee", "linux,cma-default", "linux,dma-default")
_STATUS_WORDS = ("okay", "ok", "disabled", "reserved", "fail")


def status(case: Case) -> None:
    """A status that no one can have meant."""
    for path, region in case.regions.items():
        node = case.nodes[path]
        if region.available:
            continue
        word = node.properties["status"].partition(b"\0")[0].decode("latin-1")
        if word not in _STATUS_WORDS and not word.startswith("fail-"):
            case.report(
                STATUS_UNKNOWN,
                path,
                f'{region.name}: status should be "okay" or "disabled" and is {word!r}, which disables the '
                "region",
                'write status = "okay", or "disabled" if that is meant',
                prop="status",
            )


def entries(case: Case) -> None:
    """``reg`` and ``size``: which of them the kernel takes."""
    root = case.tree.root
    form = f"{root.address_cells}+{root.size_cells} cells"
    for node, region in case.live_regions():
        reg = node.properties.get("reg")
        if reg is not None and not region.reg:
            instead = "places the region by its size" if node.flag("size") else "ignores the region"
            case.report(
                REG_LENGTH,
                region.path,
                f"{region.name}: reg should be entries of {form} "
                f"({4 * (root.address_cells + root.size_cells)} bytes) and has {plural(len(reg), 'byte')}, "
                f"so the kernel {instead}",
                "write the address and the size in the root's cells",
                prop="reg",
            )
        elif region.kind is Kind.NONE:
            case.report(
                NO_MEMORY,
                region.path,
                f"{region.name}: it has neither reg nor size, and the kernel ignores it in silence",
                "give it a size (placed at boot) or a reg (fixed place)",
            )
        if region.reg and node.flag("size"):
            unread = [name for name in ("size", "alignment", "alloc-ranges") if node.flag(name)]
            case.report(
                REG_AND_SIZE,
                region.path,
                f"{region.name}: it has reg and size, and the kernel takes reg and does not read "
                f"{', '.join(unread)}",
                "keep reg for a fixed place, or the others for one chosen at boot",
                prop="size",
            )
        if region.reg and len(region.reg) > 1:
            lost = sum(item.size for item in region.reg[1:])
            case.report(
                REG_ENTRIES,
                region.path,
                f"{region.name}: reg has {len(region.reg)} entries, and the kernel reserves only the first "
                f"({region.reg[0]}), not the other {size_text(lost)}",
                "write one node for each entry",
                prop="reg",
            )


def flags(case: Case) -> None:
    """Flags that have a value, or that exclude each other."""
    for node, region in case.live_regions():
        for name in _FLAGS:
            if node.properties.get(name):
                case.report(
                    FLAG_VALUE,
                    region.path,
                    f"{region.name}: {name} is a flag and has a value of "
                    f"{plural(len(node.properties[name]), 'byte')}, which the kernel does not read: the "
                    "flag is on",
                    f"write {name} without a value, or leave it out to switch it off",
                    prop=name,
                )
        if region.cause is Cause.RESTRICTED_FLAGS:
            barred = [name for name in _FLAGS if node.flag(name) and not name.startswith("guarantee")]
            case.report(
                RESTRICTED_FLAGS,
                region.path,
                f"{region.name}: a restricted-dma-pool cannot have {', '.join(barred)}, and the kernel "
                "frees its memory",
                f"leave out {', '.join(barred)}",
                prop=barred[0],
            )
        if node.flag("reusable") and node.flag("no-map"):
            case.report(
                REUSABLE_NO_MAP,
                region.path,
                f"{region.name}: reusable and no-map exclude each other, and the kernel keeps the memory "
                "from all use",
                "leave out no-map for a CMA area, or reusable for a region that only its device uses",
                prop="no-map",
            )


def names(case: Case) -> None:
    """The unit address, as the binding wants it."""
    for _, region in case.live_regions():
        _, at, unit = region.name.partition("@")
        if region.reg:
            wanted = f"{region.reg[0].base:x}"
            if unit.replace(",", "").lstrip("0") != wanted.lstrip("0"):
                case.report(
                    UNIT_ADDRESS,
                    region.path,
                    f"{region.name}: the unit address should be {wanted}, the address in reg, and is "
                    f"{unit or 'absent'}",
                    f"call the node {region.name.partition('@')[0]}@{wanted}",
                )
        elif at and region.kind is Kind.DYNAMIC:
            case.report(
                UNIT_ADDRESS,
                region.path,
                f"{region.name}: a region without reg has no address, and its name has the unit address "
                f"{unit}",
                f"call the node {region.name.partition('@')[0]}",
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


CHECKS = (status, entries, flags, names, places, pages, overlaps)
