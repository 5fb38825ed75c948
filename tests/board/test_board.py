"""A board's life: states, descriptors, QMP, and a QEMU that does not start."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from board import Board, DiedError, LaunchError, Plan, State, load_plan
from board.monitor import MonitorError
from board.screen import ScreenError, pixels
from guest.protocol import CASES, Case, Outcome

CASE = {case.id: case for case in CASES}


@pytest.fixture(scope="module")
def plan(boards: Path, need_qemu: Callable[[Path], Path]) -> Plan:
    return load_plan(need_qemu(boards / "rpi-3-b.dts"))


@pytest.fixture
def board(plan: Plan) -> Iterator[Board]:
    with Board(plan) as board:
        yield board


def descriptors() -> set[str]:
    """What this process has open, but for the descriptor that looks."""
    gc.collect()  # the model's parts know one another: its memory goes with them
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except OSError:
            continue
    return found


qemu = pytest.mark.qemu


@qemu
def test_states(plan: Plan) -> None:
    board = Board(plan)
    assert board.state is State.OFF
    with pytest.raises(RuntimeError, match=r"^run\(\) needs an idle board; this one is off$"):
        board.run(CASE["boot.devicetree"])
    board.start()
    assert board.state is State.IDLE
    with pytest.raises(RuntimeError, match=r"^start\(\) needs a board that is off; this one is idle$"):
        board.start()
    assert board.run(CASE["boot.devicetree"]).outcome is Outcome.PASSED
    assert board.state is State.IDLE
    board.close()
    assert board.state is State.OFF
    board.close()


@qemu
def test_a_lost_board_can_only_be_closed(board: Board) -> None:
    assert board.qemu_pid is not None
    os.kill(board.qemu_pid, signal.SIGKILL)
    with pytest.raises(DiedError, match=r"^boot.devicetree: QEMU ended \(killed by SIGKILL\)$"):
        board.run(CASE["boot.devicetree"])
    assert board.state is State.LOST
    with pytest.raises(RuntimeError, match=r"this one is lost$"):
        board.run(CASE["boot.devicetree"])


@qemu
def test_a_signal_without_a_name(board: Board) -> None:
    assert board.qemu_pid is not None
    os.kill(board.qemu_pid, signal.SIGRTMIN + 3)
    with pytest.raises(DiedError, match=rf"QEMU ended \(killed by signal {signal.SIGRTMIN + 3}\)$"):
        board.run(CASE["boot.devicetree"])


@qemu
def test_a_closed_board_holds_nothing(plan: Plan) -> None:
    with Board(plan) as board:
        board.run(CASE["display.blit"])
    before = descriptors()
    for _ in range(5):
        with Board(plan) as board:
            board.run(CASE["boot.devicetree"])
            pid = board.qemu_pid
        assert not Path(f"/proc/{pid}").exists()
    assert descriptors() <= before


@qemu
def test_a_closed_board_gives_its_memory_back_at_once(plan: Plan) -> None:
    with Board(plan) as board:
        board.memory(0x0500_0000, 64 << 20)[:] = 1
        view = board.memory(0x0500_0000, 4096)
        assert view.all()
    assert not view.any(), "the pages are still there, because somebody has a view of them"


@qemu
def test_an_unknown_case(board: Board) -> None:
    verdict = board.run(Case(7777, "no.such", "", ""))
    assert (verdict.outcome, verdict.message) == (Outcome.FAILED, "the firmware has no case 7777")


@qemu
def test_a_fault_is_a_verdict_with_registers(board: Board) -> None:
    verdict = board.run(CASE["selftest.fault"])
    assert verdict.outcome is Outcome.FAULT
    assert "x20 0xabcd" in verdict.message
    assert board.state is State.LOST


@qemu
def test_qmp(board: Board) -> None:
    status = board.monitor.execute("query-status")
    assert isinstance(status, dict)
    assert status["running"] is True
    with pytest.raises(MonitorError, match=r"^QMP no-such-command: "):
        board.monitor.execute("no-such-command")
    assert board.qemu_pid is not None
    os.kill(board.qemu_pid, signal.SIGKILL)
    with pytest.raises(MonitorError, match=r"^QMP query-status: "):
        board.monitor.execute("query-status")


@qemu
def test_a_frozen_qemu_does_not_answer(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.monitor.QMP_SECONDS", 0.5)
    board.monitor.execute("query-status")
    assert board.qemu_pid is not None
    os.kill(board.qemu_pid, signal.SIGSTOP)
    with pytest.raises(MonitorError, match=r"^QMP query-status: no answer within 0.5 s$"):
        board.monitor.execute("query-status")


@qemu
def test_a_stopped_qemu_is_closed_all_the_same(plan: Plan) -> None:
    with Board(plan) as board:
        pid = board.qemu_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    assert not Path(f"/proc/{pid}").exists()


@qemu
def test_screen(board: Board) -> None:
    board.run(CASE["display.blit"])
    assert pixels(board.screenshot()).shape == (720, 1280, 3)


@pytest.mark.parametrize("png", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_no_picture(png: bytes) -> None:
    with pytest.raises(ScreenError, match=r"^screendump: not a picture: "):
        pixels(png)


@qemu
def test_a_tree_that_qemu_refuses(plan: Plan) -> None:
    with pytest.raises(LaunchError) as caught:
        Board(replace(plan, blob=b"no tree")).start()
    assert str(caught.value) == "the board did not come up: boot: QEMU ended (exit status 1)"
    assert caught.value.stderr
    assert "--- stderr" in caught.value.evidence()


def attempt(plan: Plan) -> tuple[str, str]:
    """What a start that fails says; nothing else of it is kept."""
    try:
        Board(plan).start()
    except LaunchError as error:
        return str(error), error.stderr
    raise AssertionError("it started")


def test_a_qemu_that_ends_at_once(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "qemu-system-aarch64"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo version 10.0 && exit\necho no luck >&2; exit 3\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = descriptors()
    assert attempt(plan) == ("the board did not come up: boot: QEMU ended (exit status 3)", "no luck\n")
    assert descriptors() <= before


def test_a_qemu_that_says_nothing(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "qemu-system-aarch64"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo version 10.0 && exit\nexec sleep 60\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("board.board.BOOT_SECONDS", 0.5)
    with pytest.raises(LaunchError, match=r"boot: no answer within 0.5 s; QEMU was killed$"):
        Board(plan).start()


@qemu
def test_ram_is_shared_both_ways(board: Board) -> None:
    memory = board.memory(0x0500_0000, 4096)
    memory[:] = np.arange(4096, dtype=np.uint64).astype(np.uint8)
    answer = board.monitor.execute("human-monitor-command", {"command-line": "xp /4bx 0x5000010"})
    assert str(answer).split() == ["0000000005000010:", "0x10", "0x11", "0x12", "0x13"]
