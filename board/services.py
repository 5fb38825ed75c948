"""What the host does for the guest: buffers, cleancache, checks. The guest is never trusted.

Every request is checked here before anything is touched; a refusal is a negative errno and
one sentence, and leaves all as it was.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from allocator import AllocatorError, Buffer, CmaAllocError, Model
from allocator.revision import Drop, LargeFolio
from board.camera import frame_objection
from board.controlblock import CHANNELS, ControlBlockError, chain, check
from board.doorbell import Reply, Request
from board.error import BoardError, RequestError
from board.plan import Plan
from board.territory import Territory
from dts import Range
from guest import pattern, protocol
from guest.protocol import BATCH_PAGES, PAGE_BYTES, Change, DmaFlag, Format, Op, Outcome

CHECK_LIMIT_BYTES: Final = 256 << 20
SCREEN_LIMIT: Final = 4096
INODE_BITS: Final = 32


class Refusal(Exception):  # noqa: N818  an answer to the guest, not an error of ours
    """A request that is not granted."""

    def __init__(self, text: str, status: int = -errno.EINVAL) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Report:
    """What the guest said of a case, or of a directive, which may have results."""

    number: int
    outcome: Outcome
    bytes_verified: int
    message: str
    values: tuple[int, ...] = ()


@dataclass(slots=True)
class Tally:
    """What was done for guests, over a whole run."""

    allocations: int = 0
    allocation_failures: int = 0
    dropped_pages: int = 0
    stale_reads: int = 0
    put: int = 0
    hit: int = 0
    miss: int = 0


class Services:
    """Answers requests.

    :ivar hello: the arguments of the guest's HELLO, once it has spoken
    :ivar next: what NEXT answers, a case or a directive with its arguments; None lets the guest wait
    :ivar running: the number of the case that the guest was last told to run
    :ivar report: what the guest reported of it, until it is fetched
    :ivar territory: what the guest may touch
    """

    def __init__(
        self,
        plan: Plan,
        model: Model,
        ram: NDArray[np.uint8],
        tally: Tally,
        screen: Callable[[], NDArray[np.uint8]],
    ) -> None:
        assert model.cleancache is not None  # a plan always has a guaranteed pool
        self.plan = plan
        self.hello: tuple[int, ...] | None = None
        self.next: tuple[int, ...] | None = None
        self.running: int | None = None
        self.report: Report | None = None
        self._model = model
        self._area = model.areas[plan.pool.path]
        self._cleancache = model.cleancache
        self._fs = model.cleancache.add_fs()
        self._ram = ram
        self._tally = tally
        self._screen = screen
        self._buffers: dict[int, tuple[int, Buffer]] = {}  # by CPU address, with the Device's number
        self._held: dict[int, Buffer] = {}  # the same, of tests on the host
        self.territory = Territory(
            ram=(Range(0, ram.size),),
            closed=tuple((item.range, item.what) for item in plan.machine.occupied if item.closed),
            pool=plan.place,
            buffers=lambda: [Range(b.cpu_address, b.count * PAGE_BYTES) for b in self.buffers()],
        )
        clients = [path for name, path in plan.devices.items() if name != "dma" and self._served(path)]
        self._paths = {
            device.number: plan.devices[device.name]
            for device in protocol.DEVICES
            if device.name in plan.devices
        }
        # The DMA controller works on its clients' buffers and has no region of its own.
        dma = next(device.number for device in protocol.DEVICES if device.name == "dma")
        if dma in self._paths and clients:
            self._paths[dma] = clients[0]
        self._handlers: dict[int, Callable[[Request], Reply | None]] = {
            Op.HELLO: self._hello,
            Op.NEXT: self._next,
            Op.REPORT: self._report,
            Op.ALLOC: self._alloc,
            Op.FREE: self._free,
            Op.PUT: self._put,
            Op.GET: self._get,
            Op.INVALIDATE: self._invalidate,
            Op.DMA: self._dma,
            Op.CHECK: self._check,
            Op.FRAME: self._frame,
            Op.SCREEN: self._compare_screen,
            Op.STATS: self._stats,
            Op.REACH: self._reach,
            Op.STALE: self._stale,
            Op.CHANGE: self._change,
        }

    def _served(self, path: str) -> bool:
        try:
            return self._model.area_of(path) is self._area and not self._model.device(path).reach.iommu
        except AllocatorError:
            return False

    def handle(self, request: Request) -> Reply | None:
        """The answer to a request; None: not yet."""
        handler = self._handlers.get(request.operation)
        try:
            if handler is None:
                known = f"{min(self._handlers)} to {max(self._handlers)}"
                raise Refusal(f"operation {request.operation:#x}: expected {known}", -errno.ENOSYS)
            return handler(request)
        except Refusal as refusal:
            return Reply(refusal.status, text=str(refusal))
        except CmaAllocError as error:
            return Reply(-error.errno, text=str(error))
        except (AllocatorError, BoardError) as error:
            return Reply(-errno.EINVAL, text=str(error))

    def buffers(self) -> list[Buffer]:
        """All that are allocated now, by the guest or for tests on the host."""
        return [*self._held.values(), *(buffer for _, buffer in self._buffers.values())]

    def mount(self) -> None:
        """A filesystem that was never read from: a case finds nothing of the one before in the cache."""
        self._cleancache.remove_fs(self._fs)
        self._fs = self._cleancache.add_fs()

    def release_all(self) -> int:
        """Take back what a case left behind; the number of buffers."""
        left = len(self._buffers)
        for _, buffer in self._buffers.values():
            self._model.dma_free(buffer)
        self._buffers.clear()
        return left

    # ---- the host's own buffers, for tests that drive the board from outside

    def hold(self, device: str, size: int) -> Buffer:
        """A buffer for the device of that name.

        :raise RequestError: the board has no such device
        :raise allocator.AllocatorError: the model refuses
        """
        number = next((d.number for d in protocol.DEVICES if d.name == device), 0)
        path = self._paths.get(number)
        if path is None:
            have = ", ".join(d.name for d in protocol.DEVICES if d.number in self._paths)
            raise RequestError(f"{self.plan.name}: a buffer for {device!r}: this board's devices are {have}")
        buffer = self._take(path, size)
        self._held[buffer.cpu_address] = buffer
        return buffer

    def let_go(self, buffer: Buffer) -> None:
        """Take back a buffer of :meth:`hold`.

        :raise RequestError: it is not held
        """
        if self._held.get(buffer.cpu_address) is not buffer:
            raise RequestError(
                f"free of {buffer.cpu_address:#x}: it was freed already, or never allocated here"
            )
        del self._held[buffer.cpu_address]
        self._model.dma_free(buffer)

    # ---- the course of a run

    def _hello(self, request: Request) -> Reply:
        if request.arguments[0] != protocol.VERSION:
            raise Refusal(f"protocol {request.arguments[0]}: expected {protocol.VERSION}", -errno.EPROTO)
        self.hello = request.arguments
        return Reply()

    def _next(self, request: Request) -> Reply | None:
        if self.next is None:
            return None
        words, self.next = self.next, None
        self.running = words[0]
        return Reply(values=words)

    def _report(self, request: Request) -> Reply:
        number, outcome, verified, _, *values = request.arguments
        if self.running is None or number != self.running:
            raise Refusal(f"case {number} does not run")
        if outcome not in tuple(Outcome):
            raise Refusal(f"case {number}: {outcome} is no outcome")
        self.running = None
        self.report = Report(number, Outcome(outcome), verified, request.text, tuple(values))
        return Reply()

    # ---- buffers

    def _device(self, number: int) -> str:
        path = self._paths.get(number)
        if path is None:
            raise Refusal(f"device {number}: this board has none of that number")
        return path

    def _alloc(self, request: Request) -> Reply:
        device, size = request.arguments[:2]
        buffer = self._take(self._device(device), size)
        self._buffers[buffer.cpu_address] = (device, buffer)
        return Reply(values=(buffer.cpu_address, buffer.bus_address, buffer.count * PAGE_BYTES))

    def _take(self, path: str, size: int) -> Buffer:
        dropped = self._cleancache.counters.recalled
        try:
            buffer = self._model.dma_alloc(path, size)
        except CmaAllocError:
            self._tally.allocation_failures += 1
            raise
        self._tally.allocations += 1
        self._tally.dropped_pages += self._cleancache.counters.recalled - dropped
        return buffer

    def _free(self, request: Request) -> Reply:
        device, address, size = request.arguments[:3]
        owner, buffer = self._buffers.get(address, (0, None))
        if buffer is None:
            raise Refusal(f"free of {address:#x}: no buffer begins there")
        if owner != device:
            raise Refusal(f"free of {address:#x}: device {owner} has it, device {device} asks")
        if size != buffer.count * PAGE_BYTES:
            raise Refusal(
                f"free of {address:#x}: the buffer has {buffer.count * PAGE_BYTES} bytes, not {size}"
            )
        self._model.dma_free(buffer)
        del self._buffers[address]
        return Reply()

    def _reach(self, request: Request) -> Reply:
        device, address, size = request.arguments[:3]
        if size == 0 or address + size > 1 << 64:
            raise Refusal(f"{size} bytes at {address:#x} are no range")
        return Reply(values=(self._model.check_reach(self._device(device), address, size),))

    def _stats(self, request: Request) -> Reply:
        pool = next(pool for pool in self._cleancache.pools if pool.name == self._area.name)
        tally = self._tally
        return Reply(
            values=(
                self._area.count,
                self._area.available_count,
                pool.cached,
                tally.allocations,
                tally.allocation_failures,
                tally.dropped_pages,
            )
        )

    # ---- the cleancache

    def _pages(self, request: Request) -> tuple[int, range, NDArray[np.uint8]]:
        """The file, the page indexes and the guest's memory of a PUT or GET."""
        inode, index, count, address = request.arguments[:4]
        if inode >> INODE_BITS:
            raise Refusal(f"inode {inode:#x}: expected at most {INODE_BITS} bits")
        if not 0 < count <= BATCH_PAGES:
            raise Refusal(f"{count} pages in one request: expected 1 to {BATCH_PAGES}")
        if index + count > 1 << 52:
            raise Refusal(f"page index {index:#x}: a file has at most {1 << 52:#x} pages")
        if address % PAGE_BYTES:
            raise Refusal(f"pages at {address:#x}: expected a multiple of {PAGE_BYTES}")
        size = count * PAGE_BYTES
        objection = self.territory.objection(address, size)
        if objection:
            raise Refusal(objection)
        return inode, range(index, index + count), self._ram[address : address + size]

    def _put(self, request: Request) -> Reply:
        inode, indexes, data = self._pages(request)
        kept = int(self._cleancache.put_pages(self._fs, inode, indexes, data))
        self._tally.put += kept
        return Reply(values=(kept,))

    def _get(self, request: Request) -> Reply:
        inode, indexes, out = self._pages(request)
        found = self._cleancache.get_pages(self._fs, inode, indexes, out)
        hits = int(found.sum())
        self._tally.hit += hits
        self._tally.miss += len(found) - hits
        bits = np.packbits(found, bitorder="little").tobytes().ljust(BATCH_PAGES // 8, b"\0")
        return Reply(values=(hits, *(int(word) for word in np.frombuffer(bits, dtype="<u8"))))

    def _invalidate(self, request: Request) -> Reply:
        inode = request.arguments[0]
        if inode >> INODE_BITS:
            raise Refusal(f"inode {inode:#x}: expected at most {INODE_BITS} bits")
        return Reply(values=(self._cleancache.invalidate_inode(self._fs, inode),))

    def _change(self, request: Request) -> Reply:
        """Tell the cleancache of a change as the revision's hooks would, of pages that are not in memory."""
        change, inode, first, count = request.arguments[:4]
        if change not in tuple(Change):
            raise Refusal(
                f"change {change}: expected one of {', '.join(f'{c.value} ({c.name})' for c in Change)}"
            )
        if inode >> INODE_BITS or not 0 < count <= BATCH_PAGES or first + count > 1 << 52:
            raise Refusal(
                f"{count} pages from {first:#x} of inode {inode:#x}: expected 1 to {BATCH_PAGES} of a file"
            )
        revision = self._cleancache.revision
        what = {
            Change.TRUNCATE: revision.truncate,
            Change.DIRECT_WRITE: revision.direct_write,
            Change.LARGE_FOLIO: Drop.RANGE if revision.large_folio is LargeFolio.DROPPED else Drop.RESIDENT,
        }[Change(change)]
        dropped = self._cleancache.drop(self._fs, inode, first, count, what)
        return Reply(values=(dropped, int(what is Drop.RESIDENT)))

    def _stale(self, request: Request) -> Reply:
        self._tally.stale_reads += request.arguments[0]
        return Reply()

    # ---- checks

    def _dma(self, request: Request) -> Reply:
        channel, bus, flags = request.arguments[:3]
        if "dma" not in self.plan.devices:
            raise Refusal("this board has no DMA controller")
        if channel not in range(CHANNELS):
            raise Refusal(f"DMA channel {channel}: expected 0 to {CHANNELS - 1}")
        if flags & ~DmaFlag.BEYOND_REACH:
            raise Refusal(f"DMA flags {flags:#x}: only {DmaFlag.BEYOND_REACH.value:#x} is known")
        if bus >> 32:
            raise Refusal(f"control block at bus {bus:#x}: expected 32 bits")
        reach = None if flags & DmaFlag.BEYOND_REACH else self._bus_objection
        for block in chain(self._memory, bus):
            check(block, channel, self.territory.objection, reach=reach)
        return Reply()

    def _memory(self, address: int, size: int) -> bytes:
        objection = self.territory.objection(address, size)
        if objection:
            raise ControlBlockError(f"control block: {objection}")
        return self._ram[address : address + size].tobytes()

    def _bus_objection(self, bus: int, size: int) -> str | None:
        """Is it inside what dma-ranges lets the engine reach? An address above 1 GiB is not."""
        path = self.plan.devices["dma"]
        windows = self._model.device(path).reach.windows
        if not windows or any(Range(w.bus, w.size).holds(Range(bus, size)) for w in windows):
            return None
        seen = ", ".join(str(Range(window.bus, window.size)) for window in windows)
        return f"bus {bus:#x} lies outside {seen}, all that dma-ranges lets {path} reach"

    def _check(self, request: Request) -> Reply:
        address, size, seed = request.arguments[:3]
        objection = self.territory.objection(address, size)
        if objection or size > CHECK_LIMIT_BYTES or (address | size) % 8:
            limit = f"{CHECK_LIMIT_BYTES >> 20} MiB"
            raise Refusal(
                objection or f"check of {size} bytes at {address:#x}: expected whole words, at most {limit}"
            )
        seen = self._ram[address : address + size].view(np.uint64)
        return Reply(values=(int(np.count_nonzero(seen != pattern.words(seed, size))),))

    def _frame(self, request: Request) -> Reply:
        address, form, width, height, stride, frame = request.arguments
        problem = frame_objection(form, width, height, stride) or self.territory.objection(
            address, stride * height
        )
        if problem:
            raise Refusal(problem)
        seen = self._ram[address : address + stride * height].reshape(height, stride)
        wanted = pattern.frame_lines(Format(form), width, height, frame & 0xFFFF_FFFF)
        return Reply(values=(int(np.count_nonzero(seen[:, : wanted.shape[1]] != wanted)),))

    def _compare_screen(self, request: Request) -> Reply:
        width, height, frame, x, y = request.arguments[:5]
        if not (0 < width <= SCREEN_LIMIT and 0 < height <= SCREEN_LIMIT) or max(x, y) > SCREEN_LIMIT:
            raise Refusal(
                f"a screen of {width} x {height} at {x}, {y}: expected 1 to {SCREEN_LIMIT} pixels a side"
            )
        seen = self._screen()
        if seen.shape != (height, width, 3):
            raise Refusal(
                f"the screen shows {seen.shape[1]} x {seen.shape[0]} pixels, not {width} x {height}"
            )
        picture = pattern.picture(x + width, y + height, frame & 0xFFFF_FFFF)[y:, x:]
        wanted = np.ascontiguousarray(picture).view(np.uint8).reshape(height, width, 4)[:, :, :3]
        return Reply(values=(int(np.count_nonzero((seen != wanted).any(axis=2))),))
