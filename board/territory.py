"""Whose memory is it? What the guest may name in a request, and a device may touch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dts import Range


@dataclass(frozen=True, slots=True)
class Territory:
    """The guest's memory, less what it has no business in.

    :ivar ram: all RAM
    :ivar closed: ranges that nothing may touch, each with a name
    :ivar pool: the area lent to the cleancache: only allocated buffers in it are open
    :ivar buffers: the buffers allocated now
    """

    ram: tuple[Range, ...]
    closed: tuple[tuple[Range, str], ...]
    pool: Range
    buffers: Callable[[], Iterable[Range]]

    def objection(self, address: int, size: int) -> str | None:
        """Why [address, address + size) may not be touched; None: it may."""
        wanted = Range(address, size)
        if size <= 0:
            return f"{address:#x}: {size} bytes are no range"
        if not any(ram.holds(wanted) for ram in self.ram):
            return f"{wanted} is not in RAM"
        for item, name in self.closed:
            if item.overlaps(wanted):
                return f"{wanted} covers {name} at {item}"
        if self.pool.overlaps(wanted) and not any(buffer.holds(wanted) for buffer in self.buffers()):
            return f"{wanted} lies in the pool at {self.pool}, but in no allocated buffer"
        return None
