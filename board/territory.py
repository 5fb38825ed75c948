"""Whose memory is it? What the guest may name in a request, and a device may touch."""

from collections.abc import Callable
from dataclasses import dataclass

from dts import Range


@dataclass(frozen=True, slots=True)
class Territory:
    """The guest's memory, less what it has no business in.

    :ivar ram: all RAM
    :ivar closed: ranges that nothing may touch, each with a name
    :ivar pool: the area lent to the cleancache: only allocated buffers in it are open
    :ivar buffer: the allocated buffer that an address lies in, if any
    """

    ram: tuple[Range, ...]
    closed: tuple[tuple[Range, str], ...]
    pool: Range
    buffer: Callable[[int], Range | None]

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
        if self.pool.overlaps(wanted):
            buffer = self.buffer(address)
            if buffer is not None and buffer.holds(wanted):
                return None
            return f"{wanted} lies in the pool at {self.pool}, but in no allocated buffer"
        return None
