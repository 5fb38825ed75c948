"""A booted board: what a test does with it, from power-on to power-off."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from allocator import SAFE, Buffer, ContiguousArea, Model, Revision
from board import screen
from board.console import TAIL_BYTES, Console
from board.error import DiedError, FaultError, LaunchError, LostBoardError, ProtocolError, RequestError
from board.filepages import FilePages
from board.host import Host
from board.machine import require_qemu
from board.monitor import Monitor
from board.plan import Plan
from board.services import Report
from board.tally import Tally
from dts import Range
from guest.build import firmware
from guest.protocol import Case, Directive, Outcome

BOOT_SECONDS: Final = 30.0
DIRECTIVE_SECONDS: Final = 20.0


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
        self._power: Host | None = None

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
        self._power = host = Host(
            self.plan, image, self.tally, self._revision, watch=self._watch, pictured=self._keep_picture
        )
        self.state = State.IDLE
        try:
            self._serve(lambda: host.services.hello is not None, BOOT_SECONDS, "boot")
        except LostBoardError as error:
            killed = isinstance(error, DiedError) and host.qemu.killed
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

    def _agree(self) -> None:
        """Both sides must have read the same pool out of the tree."""
        hello = self._host.services.hello
        assert hello is not None
        seen = Range(*hello[4:6])
        if seen != self.plan.place:
            error = self._host.lost(
                ProtocolError,
                f"the firmware read the pool at {seen} out of its tree, the host computed {self.plan.place}",
            )
            self.close()
            raise error

    @property
    def _host(self) -> Host:
        if self._power is None:
            raise RuntimeError("the board is off: start() it first")
        return self._power

    def _keep_picture(self, png: bytes) -> None:
        if self._report is not None and self._case is not None:
            screen.save(png, self._report, f"{self._case.id}.png")

    def run(self, case: Case) -> Verdict:
        """Have the firmware run a case. A fault in it ends the board too.

        :raise DiedError: QEMU ended meanwhile
        :raise DeadlineError: no report within the case's deadline
        """
        self._begin("run()")
        self._case = case
        self._host.begin()
        began = time.monotonic()
        report = self._ask((case.number,), case.deadline, case.id)
        seconds = time.monotonic() - began
        # after a fault the guest's memory may be in any state
        self.state = State.LOST if report.outcome is Outcome.FAULT else State.IDLE
        pool = "" if report.outcome is Outcome.PASSED else self.pool_map()
        left = self._host.services.buffers.release_guests()
        outcome, message = report.outcome, report.message
        if left and outcome is Outcome.PASSED:
            outcome, message = Outcome.FAILED, f"{left} buffers were not released"
        refusals = self._host.refusals()
        if outcome is not Outcome.PASSED and refusals:
            message += f" (device: {'; '.join(refusals)})"
        return Verdict(outcome, seconds, report.bytes_verified, message, pool)

    def _begin(self, what: str) -> None:
        if self.state is not State.IDLE:
            raise RuntimeError(f"{what} needs an idle board; this one is {self.state.value}")
        self.state = State.RUNNING

    def _ask(self, words: tuple[int, ...], seconds: float, what: str) -> Report:
        """Have the firmware do something; what it reports."""
        services = self._host.services
        services.next = words
        self._serve(lambda: services.report is not None, seconds, what)
        report, services.report = services.report, None
        assert report is not None
        return report

    def _serve(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            self._host.serve(done, seconds, what)
        except LostBoardError:
            self.state = State.LOST
            raise

    def obey(self, directive: Directive, *arguments: int) -> tuple[int, ...]:
        """Have the firmware carry out a directive (DMA or one after it); its results.

        :raise RequestError: refused; the board goes on
        :raise LostBoardError: it faulted, QEMU ended, or there was no report within DIRECTIVE_SECONDS
        """
        self._begin("obey()")
        what = directive.name.lower()
        report = self._ask((directive, *arguments), DIRECTIVE_SECONDS, what)
        if report.outcome is Outcome.FAULT:
            self.state = State.LOST
            raise self._host.lost(FaultError, f"{what}: the firmware faulted: {report.message}")
        self.state = State.IDLE
        refusals = self._host.refusals()
        if report.outcome is not Outcome.PASSED:
            raise RequestError(f"{what}: {'; '.join(refusals) or report.message}")
        return report.values

    def allocate(self, device: str, size_bytes: int) -> Buffer:
        """A contiguous buffer for a device, named as in results, held until :meth:`free`.

        :raise RequestError: the board has no such device
        :raise allocator.AllocatorError: no room, or out of the device's reach
        """
        return self._host.services.buffers.hold(device, size_bytes)

    def allocate_pages(self, count: int, align: int = 0) -> Buffer:
        """Contiguous pages of the pool for the DMA controller, as ``cma_alloc`` hands them out.

        :param align: alignment order; no driver's rules are applied
        :raise RequestError: the board has no DMA controller
        :raise allocator.AllocatorError: no room, or out of the controller's reach
        """
        return self._host.services.buffers.hold_pages(count, align)

    def free(self, buffer: Buffer) -> None:
        """Give a buffer back to the pool.

        :raise RequestError: it is not held; a board that is off holds none
        """
        if self._power is None:
            raise RequestError(f"free of {buffer.cpu_address:#x}: the board is off, and its buffers with it")
        self._host.services.buffers.let_go(buffer)

    def memory(self, address: int, size_bytes: int) -> NDArray[np.uint8]:
        """The guest's memory in place, one byte an element, by CPU address.

        :raise RequestError: outside RAM, closed, or in the pool but in no buffer
        """
        objection = self._host.services.territory.objection(address, size_bytes)
        if objection:
            raise RequestError(f"memory: {objection}")
        return self._host.qemu.ram[address : address + size_bytes]

    def bus_address(self, device: str, address: int) -> int:
        """By which bus address a device of the board reaches a CPU address.

        :raise RequestError: the board has no such device
        :raise allocator.ReachError: it does not
        """
        if device not in self.plan.devices:
            raise RequestError(f"{self.plan.name}: no {device!r} among {', '.join(self.plan.devices)}")
        return self._host.model.check_reach(self.plan.devices[device], address, 1)

    def screenshot(self) -> bytes:
        """The screen as a PNG.

        :raise BoardError: QEMU does not answer or draws nothing
        """
        return self._host.screenshot()

    def attach(self, step: Callable[[], bool], seconds: float | None = None) -> None:
        """Enter the firmware's console; ``step`` is called until it says True or the firmware halts.

        :param seconds: None for a user who may think as long as he likes; a dead QEMU is noticed all the same
        :raise DiedError: QEMU ended meanwhile
        :raise DeadlineError: it went on for longer than ``seconds``
        """
        self._begin("attach()")
        self._host.services.next = (Directive.CONSOLE,)
        self._serve(lambda: self.halted or step(), math.inf if seconds is None else seconds, "console")
        self.console.drain()
        self.state = State.IDLE if self.halted else State.LOST

    @property
    def halted(self) -> bool:
        """Whether the firmware has left its console and waits for a case."""
        return self._host.services.running == Directive.CONSOLE and self._host.waiting

    @property
    def area(self) -> ContiguousArea:
        """The pool, over the guest's RAM."""
        return self._host.area

    @property
    def model(self) -> Model:
        """The model of the board's contiguous memory."""
        return self._host.model

    @property
    def files(self) -> FilePages:
        """File pages in the pool, as the guest's file system puts and gets them."""
        return self._host.services.files

    @property
    def console(self) -> Console:
        """The serial line."""
        return self._host.console

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor."""
        return self._host.monitor

    def pool_map(self) -> str:
        """What the pool is used for now, drawn, and its buffers."""
        return self._host.pool_map()

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
        return self._host.qemu.command_text()

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self._power is not None and self._power.qemu.ending() is None

    @property
    def qemu_pid(self) -> int | None:
        """QEMU's process number, for those who want to kill it."""
        return self._host.qemu.pid

    def close(self) -> None:
        """Power off. Nothing is left: no process, no file, no socket."""
        self.state = State.OFF
        host, self._power = self._power, None
        if host is not None:
            host.close()
