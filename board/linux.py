"""Linux on the board: the same machine and the same tree, with a kernel in the firmware's place."""

import math
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import dts
from board.console import Console, printable
from board.error import DeadlineError, DiedError, EvidenceError, LaunchError, LostBoardError
from board.initramfs import Entry, archive
from board.kernel import BUSYBOX, Kernel
from board.machine import Machine, machine_for, require_qemu
from board.package import fetch
from board.process import Qemu
from dts import Range
from dts.range import without
from guest.linux_build import init_program

LOG_BYTES: Final = 32 << 20
_RECENT_BYTES: Final = 64
_STEP_SECONDS: Final = 0.01
_QUIET_SECONDS: Final = 0.2
_SETTLE_SECONDS: Final = 5.0
_UART: Final = {"raspi4b": 0xFE20_1000, "raspi3b": 0x3F20_1000}
_HDMI: Final = Range(0x7EF0_0000, 0x1_0000)
"""What a Pi 4 has on its bus and QEMU lacks: a driver that touches it brings the kernel down."""
OFF: Final = b"@@ gcma off\r\n"
"""What our init says last. The boards have nothing that Linux could switch them off with."""
ENDINGS: Final = (OFF, b"reboot: System halted", b"reboot: Power down", b"reboot: Restarting system")
PANIC: Final = b"Kernel panic - not syncing"
PROMPT: Final = b"linux# "
SILENCE_SECONDS: Final = 5.0
_WHERE_IS_THE_CURSOR: Final = b"\x1b[6n"  # what busybox asks a terminal behind its prompt
INITRD_AT: Final = 0x0800_0000
"""Where QEMU puts the initramfs; the devicetree follows it."""


class PanicError(LostBoardError):
    """The kernel panicked; ``serial`` tells where. Usual cause: a region where no RAM is."""


@dataclass(frozen=True, slots=True)
class LinuxPlan:
    """A tree to boot Linux with.

    :ivar name: the tree, as the user named it
    :ivar blob: the tree that QEMU gets
    :ivar memory: RAM as Linux will see it: what QEMU writes into /memory, and what else the tree has
    """

    name: str
    machine: Machine
    tree: dts.Tree
    kernel: Kernel
    blob: bytes
    memory: tuple[Range, ...]
    command: str

    def options(self, *, repeatable: bool = False) -> tuple[str, ...]:
        """QEMU's options besides those of every board.

        :param repeatable: the guest's clock counts its instructions, 2 ns each
        """
        # one thread: the secondary cores' wait loops would take the processor from the first
        clock: tuple[str, ...] = ("-accel", "tcg,thread=single")
        if repeatable:
            # one processor: others that wait for work would use up the guest's time
            clock = ("-icount", "shift=1,sleep=off", "-global", "bcm2838.enabled-cpus=1")
        return ("-no-reboot", *clock, "-append", self.command)

    def verdict(self) -> dts.Verdict:
        """What :func:`dts.examine` expects of this boot."""
        return dts.examine(self.tree, self.assumptions())

    def assumptions(self) -> dts.Assumptions:
        """What the boot adds to the tree."""
        return dts.Assumptions(
            memory=self.memory,
            occupied=(Range(0x0020_0000, self.kernel.memory_bytes), Range(INITRD_AT, 4 << 20)),
            cma_on_cmdline=any(word.startswith("cma=") for word in self.command.split()),
        )


def plan_linux(tree: dts.Tree, kernel: Kernel, words: str = "") -> LinuxPlan:
    """Plan a boot of Linux.

    :param words: more words of the kernel's command line; those of the tree's ``/chosen`` stay
    :raise MachineError: no emulated machine is compatible with the tree
    """
    machine = machine_for(tree)
    own = tree.find("/chosen")
    bootargs = own.properties.get("bootargs", b"").rstrip(b"\0").decode(errors="replace") if own else ""
    command = f"{bootargs} earlycon=pl011,{_UART[machine.name]:#x} console=ttyAMA0,115200 panic=-1 {words}"
    blob, memory = _for_qemu(tree, machine)
    return LinuxPlan(tree.name, machine, tree, kernel, blob, memory, command.strip())


def _for_qemu(tree: dts.Tree, machine: Machine) -> tuple[bytes, tuple[Range, ...]]:
    """The tree as QEMU's machine can boot it, and all RAM that Linux will see.

    QEMU puts the machine's first bank in the place of every /memory node, and forgets other banks.
    """
    copy = dts.read_blob(dts.flatten(tree), tree.name)
    first, *banks = machine.memory
    declared = dts.examine(copy).memory
    for name in [node.name for node in copy.root.children if node.base_name == "memory"]:
        copy.root.remove(name)
    kept = dts.examine(copy).memory
    lost = [
        Range(max(item.base, bank.base), min(item.end, bank.end) - max(item.base, bank.base))
        for item in without(declared, kept)
        for bank in banks
        if item.overlaps(bank)
    ]
    for item in lost:
        node = copy.root.add(f"ram@{item.base:x}")
        node.properties["device_type"] = b"memory\0"
        node.properties["reg"] = item.base.to_bytes(4 * copy.root.address_cells, "big") + item.size.to_bytes(
            4 * copy.root.size_cells, "big"
        )
    for node in copy.walk():
        if _lies_in(node.name, _HDMI):
            node.properties["status"] = b"disabled\0"
    return dts.flatten(copy), (first, *kept, *lost)


def _lies_in(name: str, place: Range) -> bool:
    """Whether a node's unit address is one of a range."""
    try:
        return place.base <= int(name.partition("@")[2], 16) < place.end
    except ValueError:
        return False


def initramfs(*, interactive: bool) -> bytes:
    """Our init, and a shell for it when somebody is to type.

    :raise guest.GuestError: init cannot be built
    :raise PackageError: the shell cannot be fetched
    """
    entries = [
        *(Entry.folder(name) for name in ("dev", "proc", "sys", "bin")),
        Entry.character_device("dev/console", 5, 1),
        Entry.program("init", init_program()),
    ]
    if interactive:
        entries.append(Entry.program("bin/busybox", fetch(BUSYBOX).read_bytes()))
    return archive(entries)


class LinuxBoard:
    """A board with Linux on it, from power-on to power-off. Use it as a context manager.

    :param initrd: its initramfs
    :param listener: gets all that comes over the serial line, as it comes
    :param repeatable: two runs do the same at the same time of the guest

    :ivar ended: whether Linux has said its last word
    """

    def __init__(
        self,
        plan: LinuxPlan,
        initrd: bytes,
        listener: Callable[[bytes], None] | None = None,
        *,
        repeatable: bool = False,
    ) -> None:
        self.plan = plan
        self._options = plan.options(repeatable=repeatable)
        self.ended = False
        self._panicked = False
        self._initrd = initrd
        self._listener = listener
        self._log = bytearray()
        self._recent = b""
        self._heard = 0.0

    def __enter__(self) -> Self:
        plan = self.plan
        require_qemu(plan.machine)
        self._qemu = Qemu(
            plan.machine, plan.kernel.path, plan.blob, initrd=self._initrd, options=self._options
        )
        self.console = Console(self._qemu.serial)
        self.console.listener = self._keep
        return self

    def __exit__(self, *_: object) -> None:
        self._qemu.close()

    def _keep(self, data: bytes) -> None:
        self._recent = self._recent[-_RECENT_BYTES:] + data
        self._heard = time.monotonic()
        self.ended |= any(ending in self._recent for ending in ENDINGS)
        self._panicked |= PANIC in self._recent
        if len(self._log) < LOG_BYTES:
            self._log += data
        if self._listener is not None:
            self._listener(data)

    @property
    def log(self) -> str:
        """What came over the serial line, up to LOG_BYTES, printable."""
        return printable(bytes(self._log))

    def saw(self, text: bytes) -> bool:
        """Whether a text came over the serial line."""
        return text in self._log

    def prompts(self) -> bool:
        """Whether the shell waits for a command, as far as one can see.

        The kernel may have written something behind the prompt; then a silence has to do.
        """
        if self._recent.removesuffix(_WHERE_IS_THE_CURSOR).endswith(PROMPT):
            return True
        return PROMPT in self._recent and time.monotonic() - self._heard > SILENCE_SECONDS

    def run(self, done: Callable[[], bool], seconds: float | None) -> None:
        """Let Linux run until something is done or it has ended.

        :param seconds: None for a user who may think as long as he likes
        :raise LaunchError: QEMU ended before the kernel spoke
        :raise DiedError: QEMU ended
        :raise PanicError: the kernel panicked
        :raise DeadlineError: it went on for longer than ``seconds``
        """
        deadline = time.monotonic() + (math.inf if seconds is None else seconds)
        while True:
            self.console.drain()
            if done() or self.ended:
                return
            if self._panicked:
                self._settle()
                raise self._lost(PanicError, "the kernel panicked")
            ending = self._qemu.ending()
            if ending:
                self._settle()
                raise self._lost(DiedError if self._log else LaunchError, f"QEMU ended ({ending})")
            if time.monotonic() > deadline:
                raise self._lost(DeadlineError, f"Linux was not done within {seconds:g} s; QEMU was killed")
            select.select([self._qemu.serial], [], [], _STEP_SECONDS)

    def _settle(self) -> None:
        """Read on until the line is quiet, which it may never be: the words that follow say why."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while (
            time.monotonic() < deadline
            and select.select([self._qemu.serial], [], [], _QUIET_SECONDS)[0]
            and self.console.drain()
        ):
            pass

    def _lost(self, kind: type[EvidenceError], message: str) -> EvidenceError:
        return kind(
            f"{self.plan.name}: {message}",
            command=self._qemu.command_text(),
            serial=self.console.tail(),
            stderr=self._qemu.stderr(),
        )
