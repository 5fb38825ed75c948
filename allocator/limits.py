"""What a device's hardware asks of its buffers beyond what it can address.

A device node may say so, in bytes and CPU addresses::

    codec@7eb00000 {
        memory-region = <&gcma>;
        gcma,dma-alignment = <0x10000>;               /* a power of two */
        gcma,dma-boundary = <0x4000000>;              /* a buffer crosses no multiple of it: a power of two */
        gcma,dma-avoid = <0x0 0x20000000 0x100000>;   /* erratum: memory it cannot use; root's cells */
    };

Linux has the first two as `dma_set_min_align_mask` and `dma_set_seg_boundary`, called by drivers; nothing
in a standard binding carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from allocator.error import AreaError
from allocator.memory import PAGE_SIZE
from dts import Node, Range, Tree

__all__ = ["NO_LIMITS", "Limits", "limits_of"]

ALIGNMENT = "gcma,dma-alignment"
BOUNDARY = "gcma,dma-boundary"
AVOID = "gcma,dma-avoid"


@dataclass(frozen=True, slots=True)
class Limits:
    """Extra conditions on buffers; the default is none.

    alignment   of the address, bytes
    boundary    multiples of it are not crossed, bytes; None for no such condition
    avoid       memory that no buffer may touch
    """

    alignment: int = 1
    boundary: int | None = None
    avoid: tuple[Range, ...] = ()

    @property
    def order(self) -> int:
        """The alignment as `cma_alloc` takes it."""
        return max(self.alignment // PAGE_SIZE, 1).bit_length() - 1

    def complaint(self, buffer: Range) -> str | None:
        """Why a buffer will not do, None when it does."""
        if buffer.base % self.alignment:
            return f"is not aligned to {self.alignment:#x}"
        if self.boundary is not None and buffer.base // self.boundary != buffer.last // self.boundary:
            return f"crosses a multiple of {self.boundary:#x}"
        for hole in self.avoid:
            if buffer.overlaps(hole):
                return f"touches {hole}, which the device must avoid"
        return None


NO_LIMITS: Final = Limits()


def limits_of(tree: Tree, node: Node) -> Limits:
    """The conditions that a device's node declares.

    Raises AreaError for values that make no sense, dts.DtsError for malformed properties.
    """
    alignment = _power_of_two(node, ALIGNMENT, 1) if ALIGNMENT in node.properties else 1
    boundary = _power_of_two(node, BOUNDARY, PAGE_SIZE) if BOUNDARY in node.properties else None
    avoid: tuple[Range, ...] = ()
    if AVOID in node.properties:
        avoid = node.ranges(AVOID, tree.root.address_cells, tree.root.size_cells)
    return Limits(alignment, boundary, avoid)


def _power_of_two(node: Node, name: str, least: int) -> int:
    value = node.u32(name)
    if value < least or value & (value - 1):
        raise AreaError(f"{node.path}: {name} is {value:#x}: a power of two of at least {least:#x} is needed")
    return value
