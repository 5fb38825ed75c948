"""Runs device tests one after another, on a fresh board after each that was lost."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

from allocator import SAFE, ContiguousArea, Revision
from allocator.areamap import AreaHistory
from board.board import Board
from board.error import BoardError, EvidenceError, LaunchError, LostBoardError
from board.plan import Plan
from board.playback import Playback
from board.recording import Recording
from board.tally import Tally
from board.variant import VARIANTS, Variant, refusal
from guest.protocol import CASES, Case, Outcome


class Result(Enum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test's end.

    :ivar evidence: what was known when a board was lost: serial tail, stderr, command line
    """

    __test__: ClassVar[bool] = False  # not for pytest to collect

    id: str
    device: str
    title: str
    result: Result
    seconds: float
    bytes_verified: int
    message: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Test:
    """A test to run: a case of the firmware, a variant of the board that must be refused, or a trace."""

    __test__: ClassVar[bool] = False  # not for pytest to collect

    subject: Case | Variant | Recording

    @property
    def id(self) -> str:
        """Its id."""
        return self.subject.id

    @property
    def title(self) -> str:
        """What it shows, in a few words."""
        return self.subject.title

    @property
    def device(self) -> str:
        """The device it is about."""
        return "devicetree" if isinstance(self.subject, Variant) else self.subject.device


ALL_TESTS = tuple(Test(subject) for subject in (*CASES, *VARIANTS))


def missing(plan: Plan, subject: Case | Recording) -> str | None:
    """What a case or a trace needs and the board lacks; None: it can run."""
    needs = subject.needs if isinstance(subject, Case) else (subject.device,)
    devices = [name for name in needs if name not in plan.devices]
    if devices:
        return f"the tree has no {' and no '.join(devices)}"
    if isinstance(subject, Case) and subject.high_memory and plan.high_memory is None:
        return f"{plan.machine.name} has no memory above 1 GiB"
    return None


class TestRun:
    """A run of tests on a plan's board.

    :param report: where pictures go; None keeps none
    :param watch: called with the pool's area now and then
    :param revision: the semantics of the pool and its cleancache

    :ivar tally: what was done for the guest, over all boards of the run
    :ivar serial: what was kept of the serial lines
    :ivar command: QEMU's command line; empty before the first board
    :ivar history: how the pool was used over time; empty without a report
    :ivar boots: how long each board took from power-on to the firmware's first request, seconds
    """

    __test__: ClassVar[bool] = False  # not for pytest to collect

    def __init__(
        self,
        plan: Plan,
        report: Path | None = None,
        watch: Callable[[ContiguousArea], None] | None = None,
        revision: Revision = SAFE,
    ) -> None:
        self.plan = plan
        self.tally = Tally()
        self.serial = ""
        self.command = ""
        self.boots: list[float] = []
        self.history = AreaHistory()
        self._began = time.monotonic()
        self._report = report
        self._watch = watch
        self._revision = revision
        self._board: Board | None = None

    def run(self, tests: list[Test], started: Callable[[Test], None]) -> Generator[TestResult]:
        """Run the tests; one result each. Close the iterator to stop early.

        :raise LaunchError: the first board does not come up
        """
        try:
            for test in tests:
                started(test)
                self.history.mark(time.monotonic() - self._began, test.id)
                yield self.one(test)
        finally:
            self.close()

    def one(self, test: Test) -> TestResult:
        """Run one test, on the board of the one before if that is still good; :meth:`close` ends the last.

        :raise LaunchError: the first board does not come up
        """
        if isinstance(test.subject, Variant):
            return self._variant(test, test.subject)
        return self._on_board(test, test.subject)

    def _variant(self, test: Test, variant: Variant) -> TestResult:
        began = time.monotonic()
        try:
            result, message = Result.PASSED, refusal(self.plan, variant)
        except BoardError as error:
            result, message = Result.FAILED, str(error)
        return TestResult(test.id, test.device, test.title, result, time.monotonic() - began, 0, message)

    def _on_board(self, test: Test, subject: Case | Recording) -> TestResult:
        began = time.monotonic()

        def ended(result: Result, message: str, verified: int = 0, evidence: str = "") -> TestResult:
            seconds = time.monotonic() - began
            return TestResult(test.id, test.device, test.title, result, seconds, verified, message, evidence)

        lacking = missing(self.plan, subject)
        if lacking:
            return ended(Result.SKIPPED, lacking)
        try:
            board = self._running_board()
            began = time.monotonic()
            verdict = board.run(subject) if isinstance(subject, Case) else Playback(board, subject).run()
        except LaunchError as error:
            if not self.boots:
                raise
            return ended(Result.FAILED, str(error), evidence=error.evidence())
        except LostBoardError as error:
            self.close()
            return ended(Result.FAILED, str(error), evidence=error.evidence())
        results = {Outcome.PASSED: Result.PASSED, Outcome.SKIPPED: Result.SKIPPED}
        result, evidence = results.get(verdict.outcome, Result.FAILED), ""
        if result is Result.FAILED:
            evidence = EvidenceError(
                verdict.message, command=board.command, serial=board.tail(), pool=verdict.pool
            ).evidence()
        if verdict.outcome is Outcome.FAULT:
            self.close()
        return ended(result, verdict.message, verdict.bytes_verified, evidence)

    def _running_board(self) -> Board:
        if self._board is None:
            looked_at = self._report is not None or self._watch is not None
            watch = self._look if looked_at else None
            board = Board(
                self.plan, tally=self.tally, report=self._report, watch=watch, revision=self._revision
            )
            board.start()
            self._board = board
            self.boots.append(board.boot_seconds)
            self.command = board.command
        return self._board

    def _look(self, area: ContiguousArea) -> None:
        if self._report is not None:
            self.history.sample(area, time.monotonic() - self._began)
        if self._watch is not None:
            self._watch(area)

    @property
    def board(self) -> Board | None:
        """The board that is up now."""
        return self._board

    @property
    def qemu_pid(self) -> int | None:
        """The process number of the QEMU that runs now."""
        return self._board.qemu_pid if self._board else None

    def close(self) -> None:
        """Power off."""
        if self._board is not None:
            self.serial += self._board.serial()
            self._board.close()
            self._board = None
