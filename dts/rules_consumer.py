"""Rules about the devices that use reserved regions: what they name, and whether they reach it."""

from __future__ import annotations

from dts.consumer import Consumer
from dts.finding import Severity
from dts.range import RangeSet
from dts.reach import Walk
from dts.region import Cause, Region, State
from dts.reserved import is_pool
from dts.rule import Case, Rule, plural

MEMORY_REGION_LENGTH = Rule(
    "memory-region-length",
    Severity.ERROR,
    "memory-region is not a list of phandles",
    "of_parse_phandle",
    "C2",
    "Each entry is one phandle of 4 bytes; a rest is not read.",
    "camera { memory-region = [00 00 01]; };",
    "camera { memory-region = <&pool>; };",
)
CONSUMER_DANGLING = Rule(
    "consumer-dangling",
    Severity.ERROR,
    "memory-region names a node that does not exist",
    "of_reserved_mem_device_init_by_idx",
    "C2",
    "The driver gets -ENODEV and mostly gives up. A phandle of 0xffffffff is a label that an overlay "
    "should have resolved.",
    "camera { memory-region = <0x99>; };",
    "camera { memory-region = <&pool>; };",
)
CONSUMER_DISABLED_REGION = Rule(
    "consumer-disabled-region",
    Severity.WARNING,
    "memory-region names a disabled region",
    "of_reserved_mem_device_init_by_idx",
    "C2",
    "The kernel returns success and assigns nothing: the device works, with memory from the default area.",
    'pool: pool { status = "disabled"; /* ... */ }; camera { memory-region = <&pool>; };',
    "pool: pool { /* ... */ }; camera { memory-region = <&pool>; };",
)
CONSUMER_FAILED_REGION = Rule(
    "consumer-failed-region",
    Severity.ERROR,
    "memory-region names a region that the kernel does not set up",
    "of_reserved_mem_device_init_by_idx",
    "C2",
    "The region is enabled but rejected, freed or ignored; the driver gets -EINVAL and mostly gives up.",
    'pool: pool { compatible = "shared-dma-pool"; reusable; }; camera { memory-region = <&pool>; };',
    'pool: pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; }; camera { memory-region = '
    "<&pool>; };",
)
CONSUMER_NOT_REGION = Rule(
    "consumer-not-region",
    Severity.WARNING,
    "memory-region names a node outside of /reserved-memory",
    "of_reserved_mem_lookup",
    "C2, C3",
    "The kernel's helpers find regions by the name of a child of /reserved-memory, and return -EINVAL for "
    "other nodes. A driver of its own may read the node itself.",
    "sram: sram@1000 { }; camera { memory-region = <&sram>; };",
    "camera { memory-region = <&pool>; };",
)
CONSUMER_EXTRA_POOLS = Rule(
    "consumer-extra-pools",
    Severity.NOTE,
    "a device names several CMA areas",
    "of_reserved_mem_device_init_by_idx",
    "P11",
    "A device has one CMA area: of_reserved_mem_device_init() takes the first entry, and each further one "
    "that a driver asks for by index replaces it. Such an area is all it has: there is no fallback to the "
    "default area.",
    "camera { memory-region = <&pool_a>, <&pool_b>; };",
    "camera { memory-region = <&pool_a>; };",
)
REACH_BEYOND = Rule(
    "reach-beyond",
    Severity.ERROR,
    "a device cannot reach its pool",
    "of_dma_get_range",
    "reach",
    "The device's addresses go through the dma-ranges above it, which the kernel walks up to the root. A "
    "buffer beyond them cannot be expressed: dma_alloc_coherent() fails, or, where a driver does not ask, "
    "the device writes somewhere else. iommus lifts the limit.",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; camera { memory-region = <&pool>; }; };\n"
    "pool@50000000 { reusable; reg = <0x0 0x50000000 0x400000>; };",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; camera { memory-region = <&pool>; }; };\n"
    "pool@20000000 { reusable; reg = <0x0 0x20000000 0x400000>; };",
)
REACH_STRADDLE = Rule(
    "reach-straddle",
    Severity.ERROR,
    "a device reaches only a part of its pool",
    "of_dma_get_range",
    "reach",
    "Allocations come from anywhere in the pool, so some of them will fail or go astray, depending on how "
    "full it is.",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; camera { memory-region = <&pool>; }; };\n"
    "pool@3fe00000 { reusable; reg = <0x0 0x3fe00000 0x400000>; };",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; camera { memory-region = <&pool>; }; };\n"
    "pool@3fc00000 { reusable; reg = <0x0 0x3fc00000 0x400000>; };",
)
REACH_UNSURE = Rule(
    "reach-unsure",
    Severity.WARNING,
    "a pool may be placed where its device does not reach",
    "of_dma_get_range",
    "reach",
    "Where the pool will lie is not known here, and alloc-ranges allows places that the device does not "
    "reach.",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; camera { memory-region = <&pool>; }; };\n"
    "pool { reusable; size = <0x400000>; };  /* RAM not known */",
    "soc { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>; camera { memory-region = <&pool>; }; };\n"
    "pool { reusable; size = <0x400000>; alloc-ranges = <0x0 0x0 0x40000000>; };",
)
REACH_UNUSABLE = Rule(
    "reach-unusable",
    Severity.WARNING,
    "no entry of dma-ranges translates to a CPU address",
    "of_dma_get_range",
    "reach",
    "The kernel finds dma-ranges and can translate none of its entries through the buses above: the set-up "
    "of the device's DMA fails with -EINVAL, and the device does not probe.",
    "bus { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>;\n"
    "    soc { dma-ranges = <0x0 0x0 0x40000000>; camera { }; }; };",
    "bus { dma-ranges = <0xc0000000 0x0 0x0 0x40000000>;\n"
    "    soc { dma-ranges = <0x0 0xc0000000 0x40000000>; camera { }; }; };",
)
RULES = (
    MEMORY_REGION_LENGTH,
    CONSUMER_DANGLING,
    CONSUMER_DISABLED_REGION,
    CONSUMER_FAILED_REGION,
    CONSUMER_NOT_REGION,
    CONSUMER_EXTRA_POOLS,
    REACH_BEYOND,
    REACH_STRADDLE,
    REACH_UNSURE,
    REACH_UNUSABLE,
)


def references(case: Case) -> None:
    """What memory-region names."""
    for path, consumer in case.consumers.items():
        if not consumer.available:
            continue
        name = consumer.node.name
        value = consumer.node.properties["memory-region"]
        if len(value) % 4 or not value:
            case.report(
                MEMORY_REGION_LENGTH,
                path,
                f"{name}: memory-region should be phandles of 4 bytes and has {plural(len(value), 'byte')}",
                "write memory-region = <&label>",
                prop="memory-region",
            )
        disabled: list[str] = []
        for index, target in enumerate(consumer.regions):
            if target is None:
                phandle = int.from_bytes(value[4 * index : 4 * index + 4], "big")
                case.report(
                    CONSUMER_DANGLING,
                    path,
                    f"{name}: memory-region names the phandle {phandle:#x}, which no node has, and the "
                    "driver gets -ENODEV",
                    "refer to the region by its label",
                    prop="memory-region",
                )
                continue
            region = case.regions.get(target)
            if region is None:
                case.report(
                    CONSUMER_NOT_REGION,
                    path,
                    f"{name}: memory-region names {target}, which is no child of /reserved-memory",
                    "refer to a reserved region, unless the driver reads the node itself",
                    prop="memory-region",
                )
            elif region.state is State.DISABLED:
                disabled.append(region.name)
            elif not region.live:
                case.report(
                    CONSUMER_FAILED_REGION,
                    path,
                    f"{name}: memory-region names {region.name}, which the kernel does not set up "
                    f"({region.state.value}), and the driver gets -EINVAL",
                    f"repair {region.name}",
                    prop="memory-region",
                    severity=_severity_of(case, region),
                )
        if disabled:
            names = ", ".join(disabled[:4]) + (f" and {len(disabled) - 4} more" if len(disabled) > 4 else "")
            case.report(
                CONSUMER_DISABLED_REGION,
                path,
                f"{name}: memory-region names {names}, which {'is' if len(disabled) == 1 else 'are'} "
                "disabled, so the device gets memory from the default area",
                "enable the region, or leave memory-region out",
                prop="memory-region",
            )
        areas = [target for target in consumer.regions if target in case.regions and case.regions[target].cma]
        if len(areas) > 1:
            case.report(
                CONSUMER_EXTRA_POOLS,
                path,
                f"{name}: memory-region names {len(areas)} CMA areas, and a device has one at a time",
                "name one, or make child devices",
                prop="memory-region",
            )


def _severity_of(case: Case, region: Region) -> Severity:
    """As grave as the region's own fault: RAM that the firmware may add makes it a warning."""
    fits = region.cause is Cause.NO_ROOM and region.path not in case.hopeless
    return Severity.WARNING if fits else Severity.ERROR


def reaches(case: Case) -> None:
    """Whether a device reaches the pools that it names."""
    for path, consumer in case.consumers.items():
        if not consumer.available or consumer.iommu:
            continue
        name = consumer.node.name
        if consumer.reach.walk is Walk.UNUSABLE:
            bus = consumer.reach.bus
            assert bus is not None
            case.report(
                REACH_UNUSABLE,
                path,
                f"{name}: no entry of dma-ranges in {bus.path} translates to a CPU address, so its DMA "
                "cannot be set up",
                "give the bus above a dma-ranges that covers them",
            )
        if not consumer.windows:
            continue
        for target in dict.fromkeys(consumer.regions):
            region = case.regions.get(target) if target is not None else None
            if region is not None and region.live and is_pool(case.nodes[region.path]):
                _reach(case, path, name, consumer, region)


def _reach(case: Case, path: str, name: str, consumer: Consumer, region: Region) -> None:
    limit = consumer.cpu_limit
    assert limit is not None
    windows = RangeSet(window.cpu_range for window in consumer.windows)
    spots = ", ".join(str(item) for item in windows)
    place = region.range
    if place is not None:
        if consumer.reach.holds(place) or windows.holds(place):
            return
        partly = windows.overlaps(place)
        what = (
            f"{name}: it reaches CPU addresses up to {limit:#x} ({spots}) and its region {region.name} ends "
            f"at {place.last:#x} ({place})"
        )
        hint = "keep the pool within reach" + (
            " with alloc-ranges" if region.placed is not None else f", below {limit + 1:#x}"
        )
        case.report(REACH_STRADDLE if partly else REACH_BEYOND, path, what, hint, prop="memory-region")
        return
    allowed = region.alloc_ranges
    if allowed is not None and all(windows.holds(item) for item in allowed):
        return
    if allowed and not any(windows.overlaps(item) for item in allowed):
        top = max(item.last for item in allowed)
        case.report(
            REACH_BEYOND,
            path,
            f"{name}: it reaches CPU addresses up to {limit:#x} ({spots}) and its region {region.name} may "
            f"lie only in {', '.join(str(item) for item in allowed)}, which ends at {top:#x}",
            "move alloc-ranges within reach",
            prop="memory-region",
        )
        return
    if allowed is None and limit >= 1 << 32:
        return  # it would take more RAM than such a machine has
    where = "anywhere" if allowed is None else f"up to {max(item.last for item in allowed):#x}"
    case.report(
        REACH_UNSURE,
        path,
        f"{name}: it reaches CPU addresses up to {limit:#x} ({spots}) and its region {region.name} may be "
        f"placed {where}",
        "give the pool alloc-ranges within reach",
        prop="memory-region",
    )


CHECKS = (references, reaches)
