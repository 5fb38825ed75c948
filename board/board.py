"""A booted board: QEMU with the firmware in it, and the host's half of everything."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from allocator import SAFE, Buffer, ContiguousArea, PhysicalMemory, Revision, from_tree
from board import screen
from board.camera import Camera
from board.console import TAIL_BYTES, Console
from board.doorbell import Doorbell
from board.error import (
    DeadlineError,
    DiedError,
    FaultError,
    LaunchError,
    LostBoardError,
    ProtocolError,
    RequestError,
)
from board.machine import DOORBELL, require_qemu
from board.monitor import Monitor
from board.plan import Plan
from board.poolmap import pool_map
from board.process import Qemu
from board.services import Report, Services, Tally
from board.v3d import V3d
from dts import Range
from guest.build import firmware
from guest.protocol import Case, Directive, Outcome

BOOT_SECONDS: Final = 30.0
DIRECTIVE_SECONDS: Final = 20.0
GRACE_SECONDS: Final = 60.0
"""At most this much of the host's own work is added to a deadline: a guest may ask without end."""
CROWDED_FACTOR: Final = 4
"""At most this many deadlines more are given to a guest that waits for a processor."""
IDLE_SPINS: Final = 2000
"""Polls before the host starts to sleep between them: about 0.2 ms, longer than a DMA test's own work."""
SLEEP_SECONDS: Final = 50e-6
WATCH_SECONDS: Final = 0.05
CHORE_SECONDS: Final = 2e-3
"""How often the serial line, QEMU's health and the deadline are looked at."""


class State(Enum):
    """What a board is doing. LOST: only :meth:`Board.close` is left."""

    OFF = "off"
    IDLE = "idle"
    RUNNING = "running"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case ended on the board.

    :ivar pool: what the pool was used for at the end of a case that did not pass, drawn
    """

    outcome: Outcome
    seconds: float
    bytes_verified: int
    message: str
    pool: str = ""


class Board:
    """One emulated board, from power-on to power-off. Use it as a context manager.

    :param tally: counts on over several boards of one run
    :param report: where screen pictures are saved; None keeps none
    :param watch: called with the pool's area now and then while the board runs
    :param revision: the semantics of the pool and its cleancache

    :ivar state: see :class:`State`
    :ivar boot_seconds: from starting QEMU to the firmware's first request
    """

    def __init__(
        self,
        plan: Plan,
        *,
        tally: Tally | None = None,
        report: Path | None = None,
        watch: Callable[[ContiguousArea], None] | None = None,
        revision: Revision = SAFE,
    ) -> None:
        self.plan = plan
        self.tally = tally if tally is not None else Tally()
        self.state = State.OFF
        self.boot_seconds = 0.0
        self._report = report
        self._watch = watch
        self._revision = revision
        self._case: Case | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Power on, and wait until the firmware has read its tree.

        :raise MachineError: QEMU is missing or too old
        :raise guest.GuestError: the firmware cannot be built
        :raise LaunchError: QEMU ended by itself, or the firmware did not speak
        :raise DiedError: somebody killed QEMU
        :raise ProtocolError: the firmware read another pool out of the tree than the host
        """
        if self.state is not State.OFF:
            raise RuntimeError(f"start() needs a board that is off; this one is {self.state.value}")
        require_qemu(self.plan.machine)
        image = firmware()
        began = time.monotonic()
        self._qemu = Qemu(self.plan.machine, image, self.plan.blob)
        self.state = State.IDLE
        try:
            self._connect()
            self._serve(lambda: self._services.hello is not None, BOOT_SECONDS, "boot")
        except LostBoardError as error:
            killed = isinstance(error, DiedError) and self._qemu.killed
            self.close()
            if killed:
                raise
            raise LaunchError(
                f"the board did not come up: {error}",
                command=error.command,
                serial=error.serial,
                stderr=error.stderr,
            ) from error
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - began
        self._agree()

    def _connect(self) -> None:
        ram = self._qemu.ram
        self.console = Console(self._qemu.serial)
        self.monitor = Monitor(self._qemu.monitor)
        page = ram[DOORBELL.base : DOORBELL.end]
        self._doorbell = Doorbell(page)
        self.model = from_tree(self.plan.tree, self.plan.verdict, PhysicalMemory(ram), self._revision)
        self._services = Services(self.plan, self.model, ram, self.tally, self._pixels)
        objection = self._services.territory.objection
        v3d = self.plan.devices.get("v3d")
        self._camera = Camera(page, ram, objection)
        self._v3d = V3d(page, ram, objection, mmu=v3d is not None and self.model.device(v3d).reach.iommu)

    def _agree(self) -> None:
        """Both sides must have read the same pool out of the tree."""
        assert self._services.hello is not None
        seen = Range(*self._services.hello[4:6])
        if seen != self.plan.place:
            error = self._lost(
                ProtocolError,
                f"the firmware read the pool at {seen} out of its tree, the host computed {self.plan.place}",
            )
            self.close()
            raise error

    def run(self, case: Case) -> Verdict:
        """Have the firmware run a case. A fault in it ends the board too.

        :raise DiedError: QEMU ended meanwhile
        :raise DeadlineError: no report within the case's deadline
        """
        self._begin("run()")
        self._case = case
        self._services.mount()
        began = time.monotonic()
        report = self._ask((case.number,), case.deadline, case.id)
        seconds = time.monotonic() - began
        # after a fault the guest's memory may be in any state
        self.state = State.LOST if report.outcome is Outcome.FAULT else State.IDLE
        pool = "" if report.outcome is Outcome.PASSED else self.pool_map()
        left = self._services.release_all()
        outcome, message = report.outcome, report.message
        if left and outcome is Outcome.PASSED:
            outcome, message = Outcome.FAILED, f"{left} buffers were not released"
        refusals = [r for r in (self._camera.refusal, self._v3d.refusal) if r]
        if outcome is not Outcome.PASSED and refusals:
            message += f" (device: {'; '.join(refusals)})"
        self._camera.refusal = self._v3d.refusal = ""
        return Verdict(outcome, seconds, report.bytes_verified, message, pool)

    def _begin(self, what: str) -> None:
        if self.state is not State.IDLE:
            raise RuntimeError(f"{what} needs an idle board; this one is {self.state.value}")
        self.state = State.RUNNING

    def _ask(self, words: tuple[int, ...], seconds: float, what: str) -> Report:
        """Have the firmware do something; what it reports."""
        self._services.next = words
        self._serve(lambda: self._services.report is not None, seconds, what)
        report, self._services.report = self._services.report, None
        assert report is not None
        return report

    def obey(self, directive: Directive, *arguments: int) -> tuple[int, ...]:
        """Have the firmware carry out a directive (DMA or one after it); its results.

        :raise RequestError: refused; the board goes on
        :raise LostBoardError: it faulted, QEMU ended, or there was no report within DIRECTIVE_SECONDS
        """
        self._begin("obey()")
        what = directive.name.lower()
        report = self._ask((directive, *arguments), DIRECTIVE_SECONDS, what)
        if report.outcome is Outcome.FAULT:
            raise self._lost(FaultError, f"{what}: the firmware faulted: {report.message}")
        self.state = State.IDLE
        refusal, self._camera.refusal = self._camera.refusal, ""
        if report.outcome is not Outcome.PASSED:
            raise RequestError(f"{what}: {refusal or report.message}")
        return report.values

    def allocate(self, device: str, size_bytes: int) -> Buffer:
        """A contiguous buffer for a device, named as in results, held until :meth:`free`.

        :raise RequestError: the board has no such device
        :raise allocator.AllocatorError: no room, or out of the device's reach
        """
        return self._services.hold(device, size_bytes)

    def free(self, buffer: Buffer) -> None:
        """Give a buffer back to the pool.

        :raise RequestError: it is not held
        """
        self._services.let_go(buffer)

    def memory(self, address: int, size_bytes: int) -> NDArray[np.uint8]:
        """The guest's memory in place, one byte an element, by CPU address.

        :raise RequestError: outside RAM, closed, or in the pool but in no buffer
        """
        objection = self._services.territory.objection(address, size_bytes)
        if objection:
            raise RequestError(f"memory: {objection}")
        return self._qemu.ram[address : address + size_bytes]

    def bus_address(self, device: str, address: int) -> int:
        """By which bus address a device of the board reaches a CPU address.

        :raise RequestError: the board has no such device
        :raise allocator.ReachError: it does not
        """
        if device not in self.plan.devices:
            raise RequestError(f"{self.plan.name}: no {device!r} among {', '.join(self.plan.devices)}")
        return self.model.check_reach(self.plan.devices[device], address, 1)

    def screenshot(self) -> bytes:
        """The screen as a PNG.

        :raise BoardError: QEMU does not answer or draws nothing
        """
        return screen.screenshot(self._qemu, self.monitor)

    def attach(self, step: Callable[[], bool], seconds: float | None = None) -> None:
        """Enter the firmware's console; ``step`` is called until it says True or the firmware halts.

        :param seconds: None for a user who may think as long as he likes; a dead QEMU is noticed all the same
        :raise DiedError: QEMU ended meanwhile
        :raise DeadlineError: it went on for longer than ``seconds``
        """
        self._begin("attach()")
        self._services.next = (Directive.CONSOLE,)
        self._serve(lambda: self.halted or step(), math.inf if seconds is None else seconds, "console")
        self.console.drain()
        self.state = State.IDLE if self.halted else State.LOST

    @property
    def halted(self) -> bool:
        """Whether the firmware has left its console and waits for a case."""
        return self._services.running == Directive.CONSOLE and self._waiting

    @property
    def area(self) -> ContiguousArea:
        """The pool, over the guest's RAM."""
        return self.model.areas[self.plan.pool.path]

    def pool_map(self) -> str:
        """What the pool is used for now, drawn, and its buffers."""
        return pool_map(self.area, self._services.buffers())

    def serial(self) -> str:
        """What was kept of the serial line."""
        self.console.drain()
        return self.console.text()

    def tail(self) -> str:
        """The end of it, as much as one wants to see in a failure."""
        return self.serial()[-TAIL_BYTES:]

    @property
    def command(self) -> str:
        """QEMU's command line."""
        return self._qemu.command_text()

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self.state is not State.OFF and self._qemu.ending() is None

    @property
    def qemu_pid(self) -> int | None:
        """QEMU's process number, for those who want to kill it."""
        return self._qemu.pid

    def close(self) -> None:
        """Power off. Nothing is left: no process, no file, no socket."""
        if self.state is State.OFF:
            return
        self.state = State.OFF
        if hasattr(self, "monitor"):
            self.monitor.close()
        for name in ("_services", "_camera", "_v3d", "_doorbell", "model"):
            self.__dict__.pop(name, None)  # they view the guest's RAM
        self._qemu.close()

    # ---- the loop

    def _serve(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Answer the guest and step the devices until done, dead or late."""
        deadline = time.monotonic() + seconds
        starved = self._qemu.starved_seconds()
        grace = GRACE_SECONDS
        chores = look = 0.0
        idle = 0
        self._waiting = False
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
            if self._watch is not None and now > look:
                look = now + WATCH_SECONDS
                self._watch(self.area)
            ending = self._qemu.ending()
            if ending:
                raise self._lost(DiedError, f"{what}: QEMU ended ({ending})")
            if now > deadline:
                # nor is it late while a crowded machine lets neither of us run
                crowded = self._qemu.starved_seconds() - starved
                if now < deadline + min(crowded, CROWDED_FACTOR * seconds):
                    continue
                self._qemu.kill()
                raise self._lost(DeadlineError, f"{what}: no answer within {seconds:g} s; QEMU was killed")

    def _answer(self) -> bool:
        request = self._doorbell.poll()
        if request is None:
            return False
        reply = self._services.handle(request)
        if reply is None:
            self._waiting = True
            return False
        self._waiting = False
        self._doorbell.answer(request, reply)
        return True

    def _lost(self, kind: type[LostBoardError], message: str) -> LostBoardError:
        self.state = State.LOST
        self.console.drain()
        return kind(
            message,
            command=self.command,
            serial=self.console.tail(),
            stderr=self._qemu.stderr(),
            pool=self.pool_map(),
        )

    def _pixels(self) -> NDArray[np.uint8]:
        png = self.screenshot()
        if self._report is not None and self._case is not None:
            screen.save(png, self._report, f"{self._case.id}.png")
        return screen.pixels(png)
