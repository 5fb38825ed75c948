"""``gcma boot`` as a user meets it: on a terminal and in a pipe."""

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

BOARDS = Path(__file__).parents[2] / "dts" / "boards"
GCMA = [sys.executable, "-m", "gcma", "boot"]
SECONDS = 40

pytestmark = pytest.mark.qemu


def piped(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GCMA, *arguments], input=text, capture_output=True, text=True, check=False, timeout=SECONDS
    )


@pytest.fixture
def terminal() -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        sys.executable, ["-m", "gcma", "boot", str(BOARDS / "rpi-3-b.dts")], timeout=SECONDS
    )
    child.expect_exact("gcma> ")
    yield child
    child.close(force=True)


def mode_of(child: pexpect.spawn) -> list[object]:
    return list(termios.tcgetattr(child.child_fd)[:4])


def qemu_of(pid: int) -> int:
    """The one child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_pipe_runs_what_is_written_and_quits(board: Path) -> None:
    run = piped(str(board), text="run camera\nstats\nquit\n")
    assert run.returncode == 0, run.stderr
    assert "camera.fhd-rgba  passed" in run.stdout
    assert "camera.ring  passed" in run.stdout
    assert "6 allocations, 0 failed" in run.stdout
    assert "\r" not in run.stdout
    assert run.stderr == ""


def test_the_end_of_input_quits() -> None:
    run = piped(str(BOARDS / "rpi-3-b.dts"), text="regions\nnonsense")
    assert run.returncode == 0, run.stderr
    assert "pool        0x34000000, 128 MiB" in run.stdout
    assert "no command 'nonsense'" in run.stdout


def test_more_input_than_the_line_holds() -> None:
    lines = 3000
    run = piped(str(BOARDS / "rpi-3-b.dts"), text="peek 8000000\n" * lines)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("0x8000000: 0xedfe0dd0") == lines


def test_terminal_types_and_leaves_by_key(terminal: pexpect.spawn) -> None:
    terminal.send("run dma.rand\b\b\b\brandom\r")
    terminal.expect_exact("dma.random  passed")
    terminal.send("\x03")  # the guest's, not ours
    terminal.sendline("stats")
    terminal.expect(r"\d+ allocations, 0 failed")
    qemu = qemu_of(terminal.pid)
    terminal.send("\x1d")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0
    assert not Path(f"/proc/{qemu}").exists()


def test_terminal_ends_when_the_guest_quits(terminal: pexpect.spawn) -> None:
    terminal.send("quit\r")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_put_back_by_a_signal(number: signal.Signals) -> None:
    # a shell in between keeps the terminal open, so that its mode can be read afterwards
    command = f"{sys.executable} -m gcma boot {BOARDS / 'rpi-3-b.dts'}; echo status $?; read line"
    child = pexpect.spawn("/bin/sh", ["-c", command], timeout=SECONDS)
    before = mode_of(child)
    child.expect_exact("gcma> ")
    assert mode_of(child) != before
    gcma = qemu_of(child.pid)
    qemu = qemu_of(gcma)
    os.kill(gcma, number)
    child.expect_exact(f"status {128 + number}")
    assert mode_of(child) == before
    assert not Path(f"/proc/{qemu}").exists()
    child.close(force=True)


def test_terminal_is_put_back_when_the_board_dies() -> None:
    command = f"{sys.executable} -m gcma boot {BOARDS / 'rpi-3-b.dts'}; echo status $?; read line"
    child = pexpect.spawn("/bin/sh", ["-c", command], timeout=SECONDS)
    before = mode_of(child)
    child.expect_exact("gcma> ")
    os.kill(qemu_of(qemu_of(child.pid)), signal.SIGKILL)
    child.expect_exact("gcma boot: console: QEMU ended (killed by SIGKILL)")
    child.expect_exact("status 1")
    assert mode_of(child) == before
    child.close(force=True)


def test_a_closed_output_ends_the_session() -> None:
    child = subprocess.Popen(
        [*GCMA, str(BOARDS / "rpi-3-b.dts")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.read(4) == b"gcma"
    child.stdout.close()
    child.stdin.write(b"list\n")
    child.stdin.flush()
    assert child.wait(SECONDS) != 0
    child.stdin.close()
    assert child.stderr is not None
    assert b"Traceback" not in child.stderr.read()
    child.stderr.close()


def test_dry_run_prints_a_command_and_starts_nothing() -> None:
    run = piped(str(BOARDS / "rpi-4-b.dts"), "--dry-run", text="")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("qemu-system-aarch64 ")
    assert run.stdout.count("\n") == 1
    assert "the pool would lie at" in run.stderr


def test_a_board_that_cannot_be(tmp_path: Path) -> None:
    tree = tmp_path / "plain.dts"
    tree.write_text('/dts-v1/; / { compatible = "brcm,bcm2711"; };')
    run = piped(str(tree), text="")
    assert run.returncode == 2
    assert run.stderr.startswith(f"gcma boot: {tree}: no guaranteed pool")
    assert run.stderr.count("\n") == 1
