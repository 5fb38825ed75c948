"""All contiguous memory of a machine, as its devicetree asks for it."""

from __future__ import annotations

from typing import Final

from allocator.area import CarveOut, ContiguousArea
from allocator.cleancache import Cleancache
from allocator.cma import CmaArea
from allocator.device import Buffer, Device
from allocator.error import AreaError, ReachError
from allocator.guaranteed import GuaranteedArea
from allocator.limits import limits_of
from allocator.memory import PAGE_SHIFT, PAGE_SIZE, PhysicalMemory
from allocator.revision import SAFE, Revision
from dts import Kind, Range, Region, Tree, Verdict, reach

__all__ = ["Model", "from_tree"]

CMA_ALIGNMENT: Final = 8
"""CONFIG_CMA_ALIGNMENT: buffers are aligned to their size, up to 2^8 pages."""

REJECTED_MOST: Final = 64
"""Buffers that are tried until one satisfies a device's extra limits."""


class Model:
    """The areas of a machine and the devices that use them. Made by `from_tree`.

    areas        by path of the region's node, in the order in which the kernel activates them
    default      the area of devices without one of their own, None when there is none
    memory       None where only placements are wanted: no area lends its pages then, however large it is
    cleancache   None unless an area is guaranteed: nothing is set up then, and no hook costs anything
    """

    def __init__(
        self, tree: Tree, verdict: Verdict, memory: PhysicalMemory | None, revision: Revision
    ) -> None:
        self.tree = tree
        self.verdict = verdict
        self.memory = memory
        self.areas: dict[str, ContiguousArea] = {}
        self.default: ContiguousArea | None = None
        self.cleancache: Cleancache | None = None
        self._devices: dict[str, Device] = {}
        live = [region for region in verdict.regions.values() if region.live and region.cma]
        # Dynamic regions are set up while they are placed, static ones late (fdt_scan_reserved_mem_late).
        for region in sorted(live, key=lambda each: each.kind is not Kind.DYNAMIC):
            self.areas[region.path] = self._area(region, revision)
            if region.default:
                self.default = self.areas[region.path]

    def device(self, path: str) -> Device:
        """The device of the node at `path`.

        Raises dts.DtsError when the tree has no such node.
        """
        device = self._devices.get(path)
        if device is None:
            consumer = self.verdict.consumers.get(path)
            region = consumer.regions[0] if consumer and consumer.regions else None
            node = self.tree.node(path)
            device = Device(path, reach(self.tree, node), region, limits_of(self.tree, node))
            self._devices[path] = device
        return device

    def area_of(self, path: str) -> ContiguousArea | None:
        """The area that the kernel takes for the device at `path`: its own, else the default one.

        A disabled region counts as none (`of_reserved_mem_device_init_by_idx`).

        Raises AreaError when the device names a region that is no CMA area.
        """
        named = self.device(path).region
        region = self.verdict.regions.get(named) if named else None
        if region is None or not region.available:
            return self.default
        area = self.areas.get(region.path)
        if area is None:
            fate = f"is {region.state.value}" if region.cma else "is no CMA area (shared-dma-pool, reusable)"
            raise AreaError(f"{path}: its memory-region {region.path} {fate}: see gcma check")
        return area

    def check_reach(self, path: str, cpu_address: int, size: int) -> int:
        """The bus address by which the device at `path` reaches a buffer, wherever that comes from.

        Raises ReachError.
        """
        return self.device(path).check_reach(cpu_address, size)

    def dma_alloc(self, path: str, size_bytes: int) -> Buffer:
        """A contiguous buffer for the device at `path`, by the rules of `dma_alloc_contiguous`.

        Raises AreaError when the kernel would not ask an area, CmaAllocError when the area has no room,
        ReachError when the device cannot address what the area gave, which is released again.
        """
        device = self.device(path)
        area = self.area_of(path)
        if size_bytes < 1:
            raise AreaError(f"{path}: a buffer of {size_bytes} bytes makes no sense: ask for at least 1")
        if device.reach.iommu:
            raise AreaError(
                f"{path}: the device sits behind an MMU and takes scattered pages: it needs no area"
            )
        if area is None:
            raise AreaError(f"{path}: the device has no memory-region and there is no linux,cma-default area")
        if device.region is None and size_bytes <= PAGE_SIZE:
            raise AreaError(
                f"{path}: a request of one page bypasses the default area: any page of RAM will do"
            )
        count = -(-size_bytes // PAGE_SIZE)
        order = max(min((count - 1).bit_length(), CMA_ALIGNMENT), device.limits.order)
        pfn = self._alloc_within(device, area, count, order)
        cpu_address = pfn << PAGE_SHIFT
        try:
            bus_address = device.check_reach(cpu_address, size_bytes)
        except ReachError:
            area.cma_release(pfn, count)
            raise
        where = next(path for path, each in self.areas.items() if each is area)
        return Buffer(path, where, pfn, count, cpu_address, bus_address, size_bytes)

    def dma_free(self, buffer: Buffer) -> None:
        """Release a buffer of `dma_alloc`.

        Raises CmaReleaseError when it was released already.
        """
        self.areas[buffer.area].cma_release(buffer.pfn, buffer.count)

    def sysfs(self) -> dict[str, int]:
        """The counters under /sys/kernel/mm, by path."""
        files = {
            f"cma/{area.name}/{name}": value
            for area in self.areas.values()
            for name, value in area.sysfs().items()
        }
        if self.cleancache is not None:
            files |= {f"cleancache/{name}": value for name, value in self.cleancache.sysfs().items()}
        return {f"/sys/kernel/mm/{name}": value for name, value in files.items()}

    def _alloc_within(self, device: Device, area: ContiguousArea, count: int, order: int) -> int:
        """Pages that satisfy the device's extra limits: those that do not are held until some do, as
        drivers do it.
        """
        rejected: list[int] = []
        try:
            while True:
                pfn = area.cma_alloc(count, order)
                complaint = device.limits.complaint(Range(pfn << PAGE_SHIFT, count << PAGE_SHIFT))
                if complaint is None:
                    return pfn
                rejected.append(pfn)
                if len(rejected) == REJECTED_MOST:
                    raise AreaError(
                        f"{device.path}: each of {REJECTED_MOST} buffers of {count} pages will not do, "
                        f"the last one {complaint}: make the area larger or the buffer smaller"
                    )
        finally:
            for each in rejected:
                area.cma_release(each, count)

    def _area(self, region: Region, revision: Revision) -> ContiguousArea:
        place = region.range
        if place is None:
            raise AreaError(
                f"{region.path}: where the region will lie is not known: the tree declares no memory"
            )
        base_pfn, count = place.base >> PAGE_SHIFT, place.size >> PAGE_SHIFT
        if self.memory is None:
            return CarveOut(region.name, base_pfn, count)
        if not region.guaranteed:
            return CmaArea(region.name, base_pfn, count)
        if self.cleancache is None:
            self.cleancache = Cleancache(self.memory, revision)
        return GuaranteedArea(region.name, base_pfn, count, self.cleancache)


def from_tree(
    tree: Tree, verdict: Verdict, memory: PhysicalMemory | None, revision: Revision = SAFE
) -> Model:
    """Set up all areas that `verdict` found in `tree`, with the cleancache's data in `memory`; without memory
    for their placements alone.

    Raises AreaError when a region cannot be set up: not placed, too large, or guaranteed and
    outside `memory`.
    """
    return Model(tree, verdict, memory, revision)
