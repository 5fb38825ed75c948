"""What the DMA of one device can address."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.error import ReachError
from allocator.limits import NO_LIMITS, Limits
from dts import Range, Reach

__all__ = ["Buffer", "Device"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Contiguous memory of a device.

    device        path of the device's node
    area          path of the region that it comes from
    pfn, count    its pages
    cpu_address   where the CPU sees it
    bus_address   where the device sees it
    size          bytes asked for; the pages may hold more
    """

    device: str
    area: str
    pfn: int
    count: int
    cpu_address: int
    bus_address: int
    size: int


@dataclass(frozen=True, slots=True)
class Device:
    """A device as far as memory is concerned.

    path      of its node
    reach     windows of its DMA, as the kernel finds them
    region    path of the region that its `memory-region` names first, None without one
    limits    what else its hardware asks of buffers
    """

    path: str
    reach: Reach
    region: str | None
    limits: Limits = NO_LIMITS

    def check_reach(self, cpu_address: int, size: int) -> int:
        """The bus address of the `size` bytes at `cpu_address`.

        Source: `dma_coherent_ok` and `translate_phys_to_dma` (kernel/dma/direct.c,
        include/linux/dma-direct.h).

        Raises ReachError when the device cannot address all of them.
        """
        wanted = Range(cpu_address, size)
        if self.reach.iommu or not self.reach.windows:
            return cpu_address
        for window in self.reach.windows:
            if window.cpu_range.holds(wanted):
                return cpu_address - window.cpu + window.bus
        limit = self.reach.cpu_limit
        if limit is not None and wanted.last > limit:
            raise ReachError(
                f"{self.path}: a buffer that ends at {wanted.last:#x} lies beyond {limit:#x}, "
                f"the highest address that the device's DMA reaches: allocate it from a region below"
            )
        windows = ", ".join(str(window.cpu_range) for window in self.reach.windows)
        raise ReachError(
            f"{self.path}: a buffer at {wanted} lies outside what the device's DMA reaches ({windows}): "
            f"allocate it from a region inside"
        )
