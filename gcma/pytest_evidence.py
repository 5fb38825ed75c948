"""Boards under pytest: powered, looked after, and asked for evidence when a test fails."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType

import pytest

from allocator import AllocatorError, Revision, revision
from board import (
    Board,
    BoardError,
    EvidenceError,
    Plan,
    Playback,
    Recording,
    State,
    Verdict,
    load_plan,
    load_recording,
)
from board.testrun import missing
from dts import DtsError
from guest.error import GuestError
from guest.protocol import CASES, Case, Outcome

PLUGIN = "gcma-evidence"
NAME_LIMIT = 120
KNOWN_ERRORS = (BoardError, DtsError, GuestError, AllocatorError)
"""Errors whose message is a whole sentence: a traceback would add nothing."""
_OURS = tuple(
    str(Path(sys.modules[name].__file__ or "").parent) + os.sep for name in ("allocator", "board", "dts")
)


class CaseFailedError(AssertionError):
    """A case failed in the guest.

    :ivar sections: what was known then, as titles and texts
    """

    def __init__(self, message: str, sections: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.sections = sections


def watch(config: pytest.Config) -> Evidence:
    """The plug-in that looks after boards, registered when first needed."""
    evidence = config.pluginmanager.get_plugin(PLUGIN)
    if evidence is None:
        evidence = Evidence(config)
        config.pluginmanager.register(evidence, PLUGIN)
    assert isinstance(evidence, Evidence)
    return evidence


def plan_of(path: Path) -> Plan:
    """The plan of a tree, named as a user at the command line would; fails the test when there is none."""
    path = path.resolve()
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    try:
        return load_plan(path)
    except KNOWN_ERRORS as error:
        sentence = str(error)
    pytest.fail(f"gcma: {sentence}", pytrace=False)  # out here: the cause would only repeat it


@contextlib.contextmanager
def powered(plan: Plan, config: pytest.Config) -> Iterator[Board]:
    """A booted board, off again in any ending."""
    boards = watch(config).boards
    board = Board(plan, revision=revision_of(config))
    _start(board)
    boards.append(board)
    try:
        yield board
    finally:
        boards.remove(board)
        board.close()


def _start(board: Board) -> None:
    try:
        board.start()
        return
    except KNOWN_ERRORS as error:
        known = error.evidence() if isinstance(error, EvidenceError) else str(error)
    pytest.fail(f"gcma: {known}", pytrace=False)


def revision_of(config: pytest.Config) -> Revision:
    """The revision that --gcma-revision names."""
    try:
        return revision(config.getoption("gcma_revision"))
    except AllocatorError as error:
        raise pytest.UsageError(f"--gcma-revision: {error}") from None


def run_case(board: Board, case_id: str) -> Verdict:
    """Run a case in the guest: its verdict when it passed, else the test fails or is skipped."""
    __tracebackhide__ = True
    case = next((case for case in CASES if case.id == case_id), None)
    if case is None:
        raise ValueError(f"{case_id!r} is no case; gcma test --list shows them")
    _skip_without(board, case)
    return _judged(board, case, board.run(case))


def run_trace(board: Board, path: Path, area: str | None) -> Verdict:
    """Repeat a trace on the board: its verdict when all went well, else the test fails or is skipped."""
    __tracebackhide__ = True
    recording = load_recording(path, area)
    _skip_without(board, recording)
    return _judged(board, recording, Playback(board, recording).run())


def _skip_without(board: Board, subject: Case | Recording) -> None:
    __tracebackhide__ = True
    lacking = missing(board.plan, subject)
    if lacking:
        pytest.skip(lacking)


def _judged(board: Board, subject: Case | Recording, verdict: Verdict) -> Verdict:
    __tracebackhide__ = True
    if verdict.outcome is Outcome.SKIPPED:
        pytest.skip(verdict.message)
    if verdict.outcome is not Outcome.PASSED:
        raise CaseFailedError(f"{subject.id}: {verdict.message}", _sections(board, verdict.pool))
    return verdict


def screen_file(folder: Path, nodeid: str, board: Board) -> str:
    """Save what the board's screen shows now; the file, or why there is none."""
    name = re.sub(r"[^\w.-]+", "-", nodeid)[-NAME_LIMIT:].strip("-.") + ".png"
    try:
        picture = board.screenshot()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture)
    except (BoardError, OSError) as error:
        return f"no picture: {error}"
    return os.path.relpath(folder / name)


def report_folder(config: pytest.Config) -> Path | None:
    """Where pictures go; None: nowhere, because pytest keeps no cache and --gcma-report was not given."""
    named = config.getoption("gcma_report")
    if named:
        return Path(config.invocation_params.dir, named)
    cache = getattr(config, "cache", None)
    return cache.mkdir("gcma") if cache is not None else None


def _sections(board: Board, pool: str) -> list[tuple[str, str]]:
    return EvidenceError("", serial=board.tail(), pool=pool, command=board.command).sections()


class Evidence:
    """Hooks of the tests that use a board.

    :ivar boards: those that are up
    """

    def __init__(self, config: pytest.Config) -> None:
        self.boards: list[Board] = []
        self._folder = report_folder(config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Put a fresh board in the place of one that was lost since the last test began."""
        for each in self.boards:
            if each.state is not State.IDLE or not each.alive:
                each.close()
                _start(each)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add what is known of the board to a failure's report."""
        if call.excinfo is not None and not item.config.getoption("fulltrace"):
            _cut(call.excinfo)
        report = yield
        if report.failed and call.excinfo is not None:
            for title, text in self._known(item, call.excinfo.value):
                _add(report, f"gcma {title}", text)
        return report

    def _known(self, item: pytest.Item, error: BaseException) -> list[tuple[str, str]]:
        board = getattr(item, "funcargs", {}).get("gcma_board")
        if isinstance(error, EvidenceError | CaseFailedError):
            sections = error.sections if isinstance(error, CaseFailedError) else error.sections()
        elif isinstance(board, Board) and board.state in (State.IDLE, State.RUNNING):
            sections = _sections(board, board.pool_map())
        else:
            return []
        if isinstance(board, Board) and board.state is State.IDLE and self._folder is not None:
            sections.append(("screen", screen_file(self._folder, item.nodeid, board)))
        return sections


def _cut(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """End a known error's traceback at the user's own line: the message says what there is to say."""
    if not isinstance(excinfo.value, KNOWN_ERRORS):
        return
    users: TracebackType | None = None
    entry: TracebackType | None = excinfo.tb
    while entry is not None:
        if not entry.tb_frame.f_code.co_filename.startswith(_OURS):
            users = entry
        entry = entry.tb_next
    if users is not None:
        users.tb_next = None


def _add(report: pytest.TestReport, title: str, text: str) -> None:
    """A section of the failure itself where that has sections: only those get into JUnit files."""
    add = getattr(report.longrepr, "addsection", None)
    if add is not None:
        add(title, text)
    else:
        report.sections.append((title, text))
