"""Results to write and show, without a board."""

from collections.abc import Callable
from pathlib import Path

import pytest

from board import Result, Tally, TestResult, load_plan
from gcma.results import RunResults


def outcome(name: str, result: Result, message: str = "", evidence: str = "", size: int = 0) -> TestResult:
    return TestResult(name, name.partition(".")[0], f"title of {name}", result, 0.25, size, message, evidence)


@pytest.fixture
def outcomes() -> Callable[..., TestResult]:
    """Makes the result of one test."""
    return outcome


@pytest.fixture
def results(boards: Path) -> Callable[..., RunResults]:
    """Makes the results of a run of these tests."""
    plan = load_plan(boards / "rpi-3-b.dts")

    def make(*tests: TestResult, serial: str = "") -> RunResults:
        return RunResults(
            plan=plan,
            again=f"gcma test {plan.name}",
            qemu="10.0",
            seconds=1.5,
            tests=tests,
            tally=Tally(allocations=7, allocation_failures=1, dropped_pages=3, put=9, hit=5, miss=4),
            command="qemu-system-aarch64 -nodefaults",
            serial=serial,
        )

    return make
