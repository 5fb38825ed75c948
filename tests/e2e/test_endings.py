"""However a board, a case or the command itself ends: a clear word, the right status, nothing left."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from board import ALL_TESTS, Result, Test, TestRun, load_plan

pytestmark = pytest.mark.qemu
Start = Callable[..., Any]


def running(start: Start, board: Path, case: str, *more: str | Path) -> Any:
    """A run that is in the middle of cases that take a while."""
    run = start("test", board, "-k", case, *more)
    run.pid = run.in_a_case()
    time.sleep(0.5)
    assert run.process.poll() is None
    return run


def test_qemu_killed_in_a_case(gcma: Start, board: Path) -> None:
    run = running(gcma, board, "selftest.wait", "--json", "out.json", "--junit", "out.xml")
    os.kill(run.pid, signal.SIGKILL)
    began = time.monotonic()
    run.wait()
    assert time.monotonic() - began < 10, "it waited for the case's own deadline"
    assert run.status == 1
    assert run.rows() == ["FAILED selftest.wait"]
    assert "selftest.wait: QEMU ended (killed by SIGKILL)" in run.out
    assert "gcma firmware: EL2" in run.out, "the serial tail is missing"
    assert "qemu-system-aarch64 -nodefaults" in run.out, "the command line is missing"
    assert "1 failed" in run.out
    results = json.loads((run.folder / "out.json").read_text())
    assert results["tests"][0]["message"] == "selftest.wait: QEMU ended (killed by SIGKILL)"
    assert "gcma firmware: EL2" in (run.folder / "out.xml").read_text()
    run.check_nothing_left()


def test_qemu_killed_while_it_boots(gcma: Start, pi3: Path) -> None:
    """Not a board that cannot boot: its case fails, the next gets another."""
    run = gcma("test", pi3, "-k", "boot or cache.roundtrip or dma.channels")
    os.kill(run.qemu(), signal.SIGKILL)
    run.wait()
    assert run.status == 1, run.err
    assert run.rows() == ["FAILED boot.devicetree", "ok dma.channels", "ok cache.roundtrip"]
    assert "QEMU ended (killed by SIGKILL)" in run.out
    run.check_nothing_left()


def test_the_next_case_gets_a_fresh_board(pi3: Path) -> None:
    tests = {test.id: test for test in ALL_TESTS}
    chosen = [tests[name] for name in ("boot.devicetree", "selftest.wait", "cache.roundtrip", "dma.channels")]
    run = TestRun(load_plan(pi3))

    def started(test: Test) -> None:
        if test.id == "selftest.wait":
            assert run.qemu_pid is not None
            threading.Timer(0.5, os.kill, (run.qemu_pid, signal.SIGKILL)).start()

    results = list(run.run(chosen, started))
    passed, failed = Result.PASSED, Result.FAILED
    assert [result.result for result in results] == [passed, failed, passed, passed]
    assert len(run.boots) == 2
    assert "gcma firmware" in results[1].evidence
    assert run.qemu_pid is None


@pytest.mark.parametrize(
    ("case", "seconds", "message"),
    [
        ("selftest.hang", 1, "selftest.hang: no answer within 1 s; QEMU was killed"),
        ("selftest.runaway", 3, "selftest.runaway: no answer within 3 s; QEMU was killed"),
    ],
)
def test_no_answer(gcma: Start, pi3: Path, case: str, seconds: float, message: str) -> None:
    began = time.monotonic()
    run = gcma("test", pi3, "-k", case).wait()
    assert seconds < time.monotonic() - began < 60
    assert run.status == 1
    assert message in run.out
    run.check_nothing_left()


def test_fault_names_the_registers(gcma: Start, board: Path) -> None:
    run = gcma("test", board, "-k", "selftest.fault", "--json", "out.json").wait()
    assert run.status == 1
    message = json.loads((run.folder / "out.json").read_text())["tests"][0]["message"]
    assert message.startswith("undefined instruction: ESR 0x2000000 ELR 0x2")
    assert " x20 0xabcd " in message
    assert [f"x{n}" for n in range(31)] == [word for word in message.split() if word.startswith("x")]
    run.check_nothing_left()


@pytest.mark.parametrize("case", ["selftest.wait", "cache or guarantee or ring"])
def test_ctrl_c(gcma: Start, board: Path, case: str) -> None:
    run = running(gcma, board, case)
    os.kill(run.process.pid, signal.SIGINT)
    run.wait(15)
    assert (run.status, run.err) == (130, "gcma: interrupted\n")
    run.check_nothing_left()


def test_ctrl_c_while_qemu_is_frozen(gcma: Start, pi3: Path) -> None:
    run = running(gcma, pi3, "selftest.runaway")
    os.kill(run.process.pid, signal.SIGINT)
    run.wait(15)
    assert run.status == 130
    run.check_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_command_itself_is_killed(gcma: Start, pi3: Path, number: signal.Signals) -> None:
    run = running(gcma, pi3, "selftest.wait")
    os.kill(run.process.pid, number)
    run.process.wait(15)
    run.check_nothing_left()


def test_the_command_is_killed_while_qemu_is_frozen(gcma: Start, pi3: Path) -> None:
    run = running(gcma, pi3, "selftest.runaway")
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait(15)
    run.check_nothing_left()


def test_the_reader_leaves(gcma: Start, pi3: Path) -> None:
    """As ``gcma test ... | head -1`` does."""
    run = gcma("test", pi3, "-k", "boot or cache")
    assert run.process.stdout.readline().startswith("gcma test")
    run.process.stdout.close()
    run.process.wait(60)
    assert run.process.stderr.read() == ""
    assert run.status == 128 + signal.SIGPIPE
    run.check_nothing_left()


def test_first_failure_stops_when_asked_to(gcma: Start, pi3: Path) -> None:
    run = gcma("test", pi3, "-k", "selftest.fault", "-x").wait()
    assert run.status == 1
    assert "1 failed" in run.out
