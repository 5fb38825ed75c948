"""Buffers of the pool: those that the guest asks for, and those that tests on the host hold."""

import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from typing import Final

from allocator import AllocatorError, Buffer, CmaAllocError, Model, ReachError
from board.doorbell import Refusal, Reply, Request
from board.error import RequestError
from board.plan import Plan
from board.tally import Tally
from dts import Range
from guest import protocol
from guest.protocol import PAGE_BYTES, Op

DMA: Final = next(device.number for device in protocol.DEVICES if device.name == "dma")


class Buffers:
    """All buffers that are allocated now.

    :ivar changes: how many were allocated and released so far
    :ivar releasing: called before one is released; None: nobody wants to know
    """

    def __init__(self, plan: Plan, model: Model, tally: Tally) -> None:
        self.changes = 0
        self.releasing: Callable[[], None] | None = None
        self._plan = plan
        self._model = model
        self._area = model.areas[plan.pool.path]
        self._tally = tally
        self._guests: dict[int, tuple[int, Buffer]] = {}  # by CPU address, with the Device's number
        self._held: dict[int, Buffer] = {}  # the same, of tests on the host
        # a guest may have as many as the pool has pages, and name any of them thousands of times at once
        self._places: list[tuple[int, int]] = []  # address and size of all, sorted
        clients = [path for name, path in plan.devices.items() if name != "dma" and self._served(path)]
        self._paths = {
            device.number: plan.devices[device.name]
            for device in protocol.DEVICES
            if device.name in plan.devices
        }
        # The DMA controller works on its clients' buffers and has no region of its own.
        if DMA in self._paths and clients:
            self._paths[DMA] = clients[0]

    def _served(self, path: str) -> bool:
        try:
            return self._model.area_of(path) is self._area and not self._model.device(path).reach.iommu
        except AllocatorError:
            return False

    def handlers(self) -> dict[int, Callable[[Request], Reply | None]]:
        """What answers the guest's requests."""
        return {Op.ALLOC: self._alloc, Op.FREE: self._free, Op.REACH: self._reach}

    def all(self) -> list[Buffer]:
        """Those of the guest, and those of tests on the host."""
        return [*self._held.values(), *(buffer for _, buffer in self._guests.values())]

    def at(self, address: int) -> Range | None:
        """The buffer that a CPU address lies in."""
        index = bisect_right(self._places, (address, sys.maxsize)) - 1
        place = Range(*self._places[index]) if index >= 0 else None
        return place if place is not None and address <= place.last else None

    # ---- the guest's

    def _device(self, number: int) -> str:
        path = self._paths.get(number)
        if path is None:
            raise Refusal(f"device {number}: this board has none of that number")
        return path

    def _alloc(self, request: Request) -> Reply:
        device, size = request.arguments[:2]
        path = self._device(device)
        buffer = self._count(lambda: self._model.dma_alloc(path, size))
        self._guests[buffer.cpu_address] = (device, buffer)
        return Reply(values=(buffer.cpu_address, buffer.bus_address, buffer.count * PAGE_BYTES))

    def _free(self, request: Request) -> Reply:
        device, address, size = request.arguments[:3]
        owner, buffer = self._guests.get(address, (0, None))
        if buffer is None:
            raise Refusal(f"free of {address:#x}: no buffer begins there")
        if owner != device:
            raise Refusal(f"free of {address:#x}: device {owner} has it, device {device} asks")
        if size != buffer.count * PAGE_BYTES:
            raise Refusal(
                f"free of {address:#x}: the buffer has {buffer.count * PAGE_BYTES} bytes, not {size}"
            )
        self._release(buffer)
        del self._guests[address]
        return Reply()

    def _reach(self, request: Request) -> Reply:
        device, address, size = request.arguments[:3]
        if size == 0 or address + size > 1 << 64:
            raise Refusal(f"{size} bytes at {address:#x} are no range")
        return Reply(values=(self._model.check_reach(self._device(device), address, size),))

    def release_guests(self) -> int:
        """Take back what a case left behind; the number of buffers."""
        left = len(self._guests)
        for _, buffer in self._guests.values():
            self._release(buffer)
        self._guests.clear()
        return left

    # ---- the host's own, for tests that drive the board from outside

    def hold(self, device: str, size: int) -> Buffer:
        """A buffer for the device of that name.

        :raise RequestError: the board has no such device
        :raise allocator.AllocatorError: the model refuses
        """
        number = next((d.number for d in protocol.DEVICES if d.name == device), 0)
        path = self._paths.get(number)
        if path is None:
            have = ", ".join(d.name for d in protocol.DEVICES if d.number in self._paths)
            raise RequestError(f"{self._plan.name}: a buffer for {device!r}: this board's devices are {have}")
        return self._hold(lambda: self._model.dma_alloc(path, size))

    def hold_pages(self, count: int, align: int) -> Buffer:
        """Pages of the pool for the DMA controller, as ``cma_alloc`` hands them out.

        :param align: alignment order; no driver's rules are applied
        :raise RequestError: the board has no DMA controller
        :raise allocator.AllocatorError: no room, or the controller does not reach what the pool gave
        """
        if "dma" not in self._plan.devices:
            raise RequestError(f"{self._plan.name}: pages for DMA: the tree has no dma")
        return self._hold(lambda: self._pages(count, align))

    def _pages(self, count: int, align: int) -> Buffer:
        path = self._plan.devices["dma"]
        pfn = self._area.cma_alloc(count, align)
        address, size = pfn * PAGE_BYTES, count * PAGE_BYTES
        try:
            bus = self._model.check_reach(path, address, size)
        except ReachError:
            self._area.cma_release(pfn, count)
            raise
        return Buffer(path, self._plan.pool.path, pfn, count, address, bus, size)

    def _hold(self, take: Callable[[], Buffer]) -> Buffer:
        buffer = self._count(take)
        self._held[buffer.cpu_address] = buffer
        return buffer

    def let_go(self, buffer: Buffer) -> None:
        """Take back a buffer that the host holds.

        :raise RequestError: it is not held
        """
        if self._held.get(buffer.cpu_address) is not buffer:
            raise RequestError(
                f"free of {buffer.cpu_address:#x}: it was freed already, or never allocated here"
            )
        del self._held[buffer.cpu_address]
        self._release(buffer)

    # ---- both

    def _count(self, take: Callable[[], Buffer]) -> Buffer:
        cleancache = self._model.cleancache
        assert cleancache is not None  # a plan always has a guaranteed pool
        dropped = cleancache.counters.recalled
        try:
            buffer = take()
        except CmaAllocError:
            self._tally.allocation_failures += 1
            raise
        insort(self._places, _place(buffer))
        self.changes += 1
        self._tally.allocations += 1
        self._tally.dropped_pages += cleancache.counters.recalled - dropped
        return buffer

    def _release(self, buffer: Buffer) -> None:
        if self.releasing is not None:
            self.releasing()
        self._model.dma_free(buffer)
        del self._places[bisect_left(self._places, _place(buffer))]
        self.changes += 1


def _place(buffer: Buffer) -> tuple[int, int]:
    return buffer.cpu_address, buffer.count * PAGE_BYTES
