"""QEMU as a child process that leaves nothing behind, however anybody ends.

RAM, devicetree and screen are anonymous memory, serial line and QMP are unnamed unix
socket pairs; QEMU inherits the descriptors. They go with the last process that holds
them, so no file and no socket can be left over, and nobody else can connect.
"""

import contextlib
import mmap
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from board.command import Endpoints, as_text, command_line
from board.error import LaunchError
from board.machine import Machine

TERM_SECONDS: Final = 0.5
KILL_SECONDS: Final = 10.0
STDERR_BYTES: Final = 4096


class Qemu:
    """A running QEMU, its RAM and its two lines.

    :ivar ram: the guest's physical memory, one byte an element, shared with it
    :ivar serial: our end of the serial line
    :ivar monitor: our end of QMP
    :ivar screen: descriptor of a file for screen dumps, which QEMU knows as ``screen_path``
    """

    def __init__(
        self,
        machine: Machine,
        image: Path,
        blob: bytes,
        *,
        initrd: bytes | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self._start(machine, image, blob, initrd, options)
        except BaseException:
            self.close()
            raise

    def _start(
        self, machine: Machine, image: Path, blob: bytes, initrd: bytes | None, options: Sequence[str]
    ) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        ram = self._memory("gcma-ram", machine.ram_bytes)
        tree = self._file("gcma-dtb", blob)
        files = [tree]
        if initrd is not None:
            files.append(self._file("gcma-initrd", initrd))
            options = ["-initrd", f"/dev/fd/{files[-1]}", *options]
        self.screen = self._memory("gcma-screen", 0)
        self.serial, serial = self._pair()
        self.monitor, monitor = self._pair()
        self._map = self._stack.enter_context(contextlib.closing(mmap.mmap(ram, machine.ram_bytes)))
        # at once, even if a view of it lives on
        self._stack.callback(self._map.madvise, mmap.MADV_REMOVE)
        self.ram: NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self._stderr = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
        self.command = command_line(
            machine,
            str(image),
            Endpoints(
                ram=f"/dev/fd/{ram}",
                blob=f"/dev/fd/{tree}",
                serial=f"socket,fd={serial.fileno()}",
                monitor=f"socket,fd={monitor.fileno()}",
            ),
            options,
        )
        # QEMU is to die with us even if we are killed; setpriv is part of util-linux
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        try:
            self._process = subprocess.Popen(
                [*prefix, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=(ram, *files, self.screen, serial.fileno(), monitor.fileno()),
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        except OSError as error:
            raise LaunchError(f"QEMU does not start: {error}", command=shlex.join(self.command)) from error
        # QEMU has its own copies; with ours open, its end of the lines would never read as closed
        serial.close()
        monitor.close()

    def _memory(self, name: str, size: int) -> int:
        descriptor = os.memfd_create(name)
        self._stack.callback(os.close, descriptor)
        os.ftruncate(descriptor, size)
        return descriptor

    def _file(self, name: str, data: bytes) -> int:
        descriptor = self._memory(name, len(data))
        os.pwrite(descriptor, data, 0)
        return descriptor

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        self._stack.enter_context(theirs)
        return ours, theirs

    @property
    def screen_path(self) -> str:
        """The screen file's name inside QEMU."""
        return f"/dev/fd/{self.screen}"

    @property
    def pid(self) -> int | None:
        """QEMU's process number."""
        return self._process.pid if self._process else None

    def starved_seconds(self) -> float:
        """How long QEMU's busiest waiter and we ourselves have waited for a processor, so far, in all.

        From the kernel's ``schedstat``; 0 where it keeps none.
        """
        waits = [_run_delay(Path("/proc/self/schedstat"))]
        if self._process is not None:
            tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
            waits.append(max(map(_run_delay, tasks), default=0.0))
        return sum(waits)

    def ending(self) -> str | None:
        """How QEMU ended, in words; None while it runs."""
        status = self._process.poll() if self._process else 0
        if status is None:
            return None
        if status >= 0:
            return f"exit status {status}"
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:  # a real-time signal has no name
            return f"killed by signal {-status}"

    @property
    def killed(self) -> bool:
        """Whether a signal ended QEMU."""
        return self._process is not None and (self._process.poll() or 0) < 0

    def stderr(self) -> str:
        """The end of what QEMU wrote on its standard error."""
        size = os.fstat(self._stderr.fileno()).st_size
        text = os.pread(self._stderr.fileno(), STDERR_BYTES, max(0, size - STDERR_BYTES))
        return text.decode(errors="replace")

    def command_text(self) -> str:
        """The command line, for a person."""
        return as_text(self.command)

    def kill(self) -> None:
        """SIGKILL, and wait. A DMA that never ends makes QEMU deaf to everything else."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            # longer than that it can only be stuck in the kernel, and ends when it comes back from there
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)

    def close(self) -> None:
        """End QEMU and free all it had."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(TERM_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self.__dict__.pop("ram", None)
        self.__dict__.pop("_map", None)
        with contextlib.suppress(BufferError):  # a view of RAM is still in use: it goes with that
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run_delay(path: Path) -> float:
    """The second field: nanoseconds on a run queue (Documentation/scheduler/sched-stats.rst)."""
    try:
        return int(path.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
