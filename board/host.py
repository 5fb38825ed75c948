"""The host's half of a running board: QEMU, the devices it lacks, and the loop that answers the guest."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from allocator import ContiguousArea, PhysicalMemory, Revision, from_tree
from board import screen
from board.camera import Camera
from board.console import Console
from board.doorbell import Doorbell
from board.error import DeadlineError, DiedError, LostBoardError
from board.machine import DOORBELL
from board.monitor import Monitor
from board.plan import Plan
from board.poolmap import pool_map
from board.process import Qemu
from board.services import Services
from board.tally import Tally
from board.v3d import V3d
from board.watch import Watch

GRACE_SECONDS: Final = 60.0
"""At most this much of the host's own work is added to a deadline: a guest may ask without end."""
CROWDED_FACTOR: Final = 4
"""At most this many deadlines more are given to a guest that waits for a processor."""
IDLE_SPINS: Final = 2000
"""Polls before the host starts to sleep between them: about 0.2 ms, longer than a DMA test's own work."""
SLEEP_SECONDS: Final = 50e-6
CHORE_SECONDS: Final = 2e-3
"""How often the serial line, QEMU's health and the deadline are looked at."""


class Host:
    """All that lives from power-on to power-off.

    :param watch: called with the pool's area when it has changed, and now and then
    :param pictured: gets the PNG whenever the guest has the screen compared
    :raise LaunchError: QEMU does not start

    :ivar waiting: whether the guest has asked what to do next, and got no answer yet
    """

    def __init__(
        self,
        plan: Plan,
        image: Path,
        tally: Tally,
        revision: Revision,
        *,
        watch: Callable[[ContiguousArea], None] | None,
        pictured: Callable[[bytes], None],
    ) -> None:
        self.waiting = False
        self._plan = plan
        self._pictured = pictured
        self.qemu = Qemu(plan.machine, image, plan.blob)
        try:
            self._connect(tally, revision, watch)
        except BaseException:
            self.qemu.close()
            raise

    def _connect(
        self, tally: Tally, revision: Revision, watch: Callable[[ContiguousArea], None] | None
    ) -> None:
        plan, ram = self._plan, self.qemu.ram
        self.console = Console(self.qemu.serial)
        self.monitor = Monitor(self.qemu.monitor)
        page = ram[DOORBELL.base : DOORBELL.end]
        self._doorbell = Doorbell(page)
        self.model = from_tree(plan.tree, plan.verdict, PhysicalMemory(ram), revision)
        self.area = area = self.model.areas[plan.pool.path]
        self.services = services = Services(plan, self.model, ram, tally, self._pixels)
        objection = services.territory.objection
        v3d = plan.devices.get("v3d")
        self._camera = Camera(page, ram, objection)
        self._v3d = V3d(page, ram, objection, mmu=v3d is not None and self.model.device(v3d).reach.iommu)
        self._watch: Watch | None = None
        if watch is not None:
            self._watch = Watch(lambda: watch(area), lambda: (services.buffers.changes, tally.put))
            services.buffers.releasing = self._watch.releasing

    def close(self) -> None:
        """Power off. Nothing is left: no process, no file, no socket."""
        try:
            self.monitor.close()
        finally:
            self.qemu.close()

    def screenshot(self) -> bytes:
        """The screen as a PNG."""
        return screen.screenshot(self.qemu, self.monitor)

    def _pixels(self) -> NDArray[np.uint8]:
        png = self.screenshot()
        self._pictured(png)
        return screen.pixels(png)

    def pool_map(self) -> str:
        """What the pool is used for now, drawn, and its buffers."""
        return pool_map(self.area, self.services.buffers.all())

    def refusals(self) -> list[str]:
        """Why devices have refused something since the last call."""
        found = [each.refusal for each in (self._camera, self._v3d) if each.refusal]
        self._camera.refusal = self._v3d.refusal = ""
        return found

    def begin(self) -> None:
        """A case begins: it finds nothing of the one before in the cache."""
        self.services.files.mount()
        if self._watch is not None:
            self._watch.begin()

    def serve(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Answer the guest and step the devices until done, dead or late.

        :raise DiedError: QEMU ended meanwhile
        :raise DeadlineError: it took longer than ``seconds``; QEMU was killed
        """
        deadline = time.monotonic() + seconds
        starved = self.qemu.starved_seconds()
        grace = GRACE_SECONDS
        chores = 0.0
        idle = 0
        self.waiting = False
        while not done():
            before = time.monotonic()
            busy = self._answer()
            busy |= self._camera.step()
            busy |= self._v3d.step()
            now = time.monotonic()
            if busy:
                idle = 0
                # the guest is not late while it waits for us: the model's first use compiles it
                served = min(now - before, grace)
                grace -= served
                deadline += served
            else:
                idle += 1
                if idle > IDLE_SPINS:
                    time.sleep(SLEEP_SECONDS)
                else:
                    os.sched_yield()  # on a busy machine QEMU may wait for this very core
            if now < chores:
                continue
            chores = now + CHORE_SECONDS
            self.console.drain()
            if self._watch is not None:
                self._watch.step(now)
            ending = self.qemu.ending()
            if ending:
                raise self.lost(DiedError, f"{what}: QEMU ended ({ending})")
            if now > deadline:
                # nor is it late while a crowded machine lets neither of us run
                crowded = self.qemu.starved_seconds() - starved
                if now < deadline + min(crowded, CROWDED_FACTOR * seconds):
                    continue
                self.qemu.kill()
                raise self.lost(DeadlineError, f"{what}: no answer within {seconds:g} s; QEMU was killed")

    def _answer(self) -> bool:
        request = self._doorbell.poll()
        if request is None:
            return False
        reply = self.services.handle(request)
        if reply is None:
            self.waiting = True
            return False
        self.waiting = False
        self._doorbell.answer(request, reply)
        return True

    def lost(self, kind: type[LostBoardError], message: str) -> LostBoardError:
        """The error of a board that is no more of use, with all that is known, to be raised."""
        self.console.drain()
        return kind(
            message,
            command=self.qemu.command_text(),
            serial=self.console.tail(),
            stderr=self.qemu.stderr(),
            pool=self.pool_map(),
        )
