"""A Linux that does not end as it should, played by a script in QEMU's place."""

import os
import sys
from pathlib import Path

import pytest

import dts
from board.error import DeadlineError, DiedError, LaunchError
from board.kernel import Kernel
from board.linux import LinuxBoard, LinuxPlan, PanicError, plan_linux
from board.machine import _version_of
from dts.source import compile_source

QEMU = """#!{python}
import os, sys, time
if "--version" in sys.argv:
    print("QEMU emulator version 10.0")
    sys.exit()
line = next(word for word in sys.argv if word.endswith(",id=serial"))
serial = int(line.partition("fd=")[2].partition(",")[0])
say = lambda text: os.write(serial, text.encode())
{script}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LinuxPlan:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    text = b'/dts-v1/; / { compatible = "brcm,bcm2837"; #address-cells = <1>; #size-cells = <1>; };'
    tree = dts.read_blob(compile_source(text, "x.dts"), "x.dts")
    return plan_linux(tree, Kernel(Path("Image"), 1 << 20))


def running(plan: LinuxPlan, folder: Path, script: str) -> LinuxBoard:
    """A board whose QEMU is a script."""
    fake = folder / "qemu-system-aarch64"
    fake.write_text(QEMU.format(python=sys.executable, script=script))
    fake.chmod(0o755)
    _version_of.cache_clear()
    return LinuxBoard(plan, b"")


def test_a_panic_that_never_stops_talking(
    plan: LinuxPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("board.linux._SETTLE_SECONDS", 0.5)
    script = 'say("Kernel panic - not syncing: why\\n")\nwhile True: say("and on\\n" * 100)'
    with running(plan, tmp_path, script) as board, pytest.raises(PanicError) as caught:
        board.run(lambda: False, 60)
    assert str(caught.value) == "x.dts: the kernel panicked"
    assert "and on\n" in caught.value.serial
    assert "not syncing: why" in board.log


def test_a_panic_and_the_words_behind_it(
    plan: LinuxPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("board.linux._QUIET_SECONDS", 2.0)  # a crowded machine may take its time
    script = 'say("Kernel panic - not syncing: why\\n"); time.sleep(0.05); say("here\\n"); time.sleep(60)'
    with running(plan, tmp_path, script) as board, pytest.raises(PanicError) as caught:
        board.run(lambda: False, 60)
    assert caught.value.serial.endswith("why\nhere\n")


@pytest.mark.parametrize(("script", "kind"), [("sys.exit(3)", LaunchError), ('say("hm")', DiedError)])
def test_qemu_ends(plan: LinuxPlan, tmp_path: Path, script: str, kind: type[Exception]) -> None:
    with (
        running(plan, tmp_path, script) as board,
        pytest.raises(kind, match=r"QEMU ended \(exit status [03]\)"),
    ):
        board.run(lambda: False, 60)


def test_a_kernel_that_is_not_done_in_time(plan: LinuxPlan, tmp_path: Path) -> None:
    with (
        running(plan, tmp_path, "time.sleep(60)") as board,
        pytest.raises(DeadlineError, match=r"Linux was not done within 0.2 s; QEMU was killed$"),
    ):
        board.run(lambda: False, 0.2)
    assert board._qemu.ending() is not None
