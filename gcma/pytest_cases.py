"""A devicetree as a file of tests: each of the firmware's cases is one item."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from board import ALL_TESTS, Result, Test, TestResult, TestRun, load_plan
from gcma.pytest_evidence import KNOWN_ERRORS, CaseFailedError, report_folder, revision_of, screen_file
from guest.protocol import Case


class BoardFile(pytest.File):
    """A ``.dts`` or ``.dtb``: its tests run on one board, on a fresh one after each that was lost."""

    def collect(self) -> Iterator[CaseItem]:
        """Its tests; a tree that cannot be booted is one error here instead of one for each test."""
        try:
            self.plan = load_plan(os.path.relpath(self.path))
        except KNOWN_ERRORS as error:
            raise self.CollectError(f"gcma: {error}") from None
        for test in ALL_TESTS:
            if not (isinstance(test.subject, Case) and test.subject.hidden):
                yield CaseItem.from_parent(self, name=test.id, test=test)

    def setup(self) -> None:
        """Nothing is booted before a test needs it."""
        self._run = TestRun(self.plan, revision=revision_of(self.config))
        self._failure: BaseException | None = None

    def teardown(self) -> None:
        """Power off."""
        self._run.close()

    def result(self, test: Test) -> TestResult:
        """Run a test; where the first board did not come up, none of the others is waited for."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._run.one(test)
        except KNOWN_ERRORS as error:
            self._failure = error
            raise

    def screen(self, folder: Path, nodeid: str) -> list[tuple[str, str]]:
        """The screen as a section of a report; empty when the board is gone."""
        board = self._run.board
        return [("screen", screen_file(folder, nodeid, board))] if board is not None else []


class CaseItem(pytest.Item):
    """One test."""

    def __init__(self, name: str, parent: BoardFile, test: Test) -> None:
        super().__init__(name, parent)
        self._test = test
        self.add_marker("gcma_case")

    def runtest(self) -> None:
        """Have the board run it."""
        parent = self.parent
        assert isinstance(parent, BoardFile)
        result = parent.result(self._test)
        self.user_properties += [("bytes_verified", result.bytes_verified), ("message", result.message)]
        if result.result is Result.SKIPPED:
            pytest.skip(result.message)
        if result.result is Result.FAILED:
            folder = report_folder(self.config)
            screen = parent.screen(folder, self.nodeid) if folder is not None else []
            raise CaseFailedError(result.evidence or result.message, screen)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The message, and all that was known: in the terminal and in JUnit files."""
        error = excinfo.value
        if isinstance(error, CaseFailedError):
            return "\n".join([str(error), *(f"--- {title}\n{text}" for title, text in error.sections)])
        if isinstance(error, KNOWN_ERRORS):
            evidence = getattr(error, "evidence", None)
            return f"gcma: {evidence() if callable(evidence) else error}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it comes from, and what it shows."""
        return self.path, None, f"{self.name}: {self._test.title}"
