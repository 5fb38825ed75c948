"""The real command line in a process of its own, and a look at what it leaves behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from board.machine import DOORBELL
from guest import protocol
from guest.protocol import Op

SECONDS = 240


class Run:
    """A ``gcma`` that runs or ran, in an empty folder and with a mark that all its children inherit."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._mark = f"GCMA_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        environment = os.environ | {name: value, "TMPDIR": str(self.temporary), "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gcma", *map(str, arguments)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out = self.err = ""

    @property
    def status(self) -> int:
        """The exit status."""
        assert self.process.returncode is not None
        return self.process.returncode

    def wait(self, seconds: float = SECONDS) -> "Run":
        """Wait for the end, which must not be a traceback."""
        self.out, self.err = self.process.communicate(timeout=seconds)
        assert "Traceback" not in self.err, self.err
        return self

    def relatives(self) -> list[int]:
        """All live processes that bear the mark: the command, its children, and who may be left of them."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                marked = self._mark.encode() in (folder / "environ").read_bytes().split(b"\0")
                dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if marked and not dead:
                found.append(int(folder.name))
        return found

    def qemu(self, seconds: float = 60) -> int:
        """The process number of its QEMU, as soon as there is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pid in self.relatives():
                try:
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if words[0].startswith(b"qemu-system") and b"-kernel" in words:
                    return pid
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        raise AssertionError("no QEMU was started")

    def in_a_case(self, seconds: float = 60) -> int:
        """The process number of its QEMU, as soon as the firmware has been told a case.

        Seen in the doorbell page, in the RAM that QEMU has open.
        """
        pid = self.qemu(seconds)
        ram = next(
            fd for fd in Path(f"/proc/{pid}/fd").iterdir() if str(fd.readlink()).startswith("/memfd:gcma-ram")
        )
        deadline = time.monotonic() + seconds
        with ram.open("rb", buffering=0) as file:
            while time.monotonic() < deadline:
                page = os.pread(file.fileno(), protocol.DOORBELL_BYTES, DOORBELL.base)
                sequence, operation, *_ = protocol.REQUEST.unpack_from(page, protocol.REQUEST_AT)
                answered, *_ = protocol.REPLY.unpack_from(page, protocol.REPLY_AT)
                if sequence > 1 and (operation != Op.NEXT or answered == sequence):
                    return pid
                assert self.process.poll() is None, self.process.communicate()
                time.sleep(0.01)
        raise AssertionError("the firmware was told no case")

    def rows(self) -> list[str]:
        """The rows of the table: how each test ended, and its id."""
        words = ("ok ", "FAILED ", "skipped ")
        return [" ".join(line.split()[:2]) for line in self.out.splitlines() if line.startswith(words)]

    def check_nothing_left(self, seconds: float = 10) -> None:
        """No process, no temporary file, no shared memory of its own."""
        deadline = time.monotonic() + seconds
        while self.relatives() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.relatives() == []
        assert list(self.temporary.iterdir()) == []
        assert [path.name for path in Path("/dev/shm").glob("*gcma*")] == []

    def kill(self) -> None:
        """End all of it, for good."""
        for pid in self.relatives():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def gcma(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts ``gcma`` with arguments; whatever the test left running is killed."""
    runs: list[Run] = []

    def start(*arguments: str | Path) -> Run:
        folder = tmp_path / f"run{len(runs)}"
        folder.mkdir()
        runs.append(Run(folder, *arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


@pytest.fixture
def board(each_board: Path, need_qemu: Callable[[Path], Path]) -> Path:
    """Each board in turn that this machine's QEMU can boot."""
    return need_qemu(each_board)


@pytest.fixture
def pi3(boards: Path, need_qemu: Callable[[Path], Path]) -> Path:
    """The smaller board, which every QEMU knows."""
    return need_qemu(boards / "rpi-3-b.dts")


@pytest.fixture
def pi4(boards: Path, need_qemu: Callable[[Path], Path]) -> Path:
    """The larger board."""
    return need_qemu(boards / "rpi-4-b.dts")
