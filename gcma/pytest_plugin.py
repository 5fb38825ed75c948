"""The pytest plug-in: booted boards as fixtures, and the tests of a devicetree as test items.

Nothing of ours is imported until a board is asked for, so a suite that uses none pays
nothing, and pytest starts where QEMU is missing. ``docs/pytest.md`` shows how to use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pytest

if TYPE_CHECKING:
    from allocator import ContiguousArea
    from board import Board, CameraDriver, DisplayDriver, DmaDriver, Plan, Verdict

SUFFIXES: Final = (".dts", ".dtb")
MARKERS: Final = (
    "gcma_board(*boards): boot these boards for the test's fixtures, one after another: devicetrees beside "
    "the test's file, or names of boards that come with gcma",
    "gcma_case: a test that the firmware runs in the guest, collected from a devicetree",
)
NO_BOARD: Final = (
    "no board: name one with --gcma-board FILE, with @pytest.mark.gcma_board('my.dts') or with gcma_boards "
    "in pytest's configuration; 'rpi-4-b' and 'rpi-3-b' come with gcma"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini values."""
    group = parser.getgroup("gcma", "emulated boards with guaranteed CMA")
    group.addoption(
        "--gcma-board",
        action="append",
        default=[],
        metavar="FILE",
        help="devicetree to boot for the gcma fixtures, or the name of a board that comes with gcma; "
        "several: every test runs on each",
    )
    group.addoption(
        "--gcma-scope",
        choices=("function", "module", "session"),
        default="function",
        help="how long a board lives: a fresh one for each test, or shared (default: %(default)s)",
    )
    group.addoption(
        "--gcma-revision",
        default="safe",
        metavar="NAME",
        help="semantics of the guaranteed area: rfc, v1, v2 or safe (default: %(default)s)",
    )
    group.addoption(
        "--gcma-report",
        metavar="DIR",
        help="where the screen of a failed test is saved (default: in pytest's cache folder)",
    )
    parser.addini(
        "gcma_boards",
        "devicetrees of the project: their tests are collected where pytest meets the files, and the gcma "
        "fixtures boot them when no other board is named",
        type="paths",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Markers, for --strict-markers and --markers."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take a devicetree that was named on the command line or in gcma_boards."""
    if file_path.suffix not in SUFFIXES:
        return None
    if not parent.session.isinitpath(file_path) and file_path not in parent.config.getini("gcma_boards"):
        return None
    from gcma.pytest_cases import BoardFile

    return BoardFile.from_parent(parent, path=file_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that wants a board on each of its boards."""
    if "gcma_plan" not in metafunc.fixturenames:
        return
    from gcma.pytest_evidence import watch

    watch(metafunc.config)
    boards = _boards(metafunc)
    if boards:
        metafunc.parametrize("gcma_plan", boards, ids=[Path(board).stem for board in boards], indirect=True)


def _boards(metafunc: pytest.Metafunc) -> list[str]:
    """Paths of the boards of a test: its marker's, else the command line's, else the project's."""
    from dts import DtsError
    from gcma.catalogue import board_file

    config = metafunc.config
    mark = metafunc.definition.get_closest_marker("gcma_board")
    try:
        if mark is not None:
            return [str(board_file(name, metafunc.definition.path.parent)) for name in mark.args]
        named = config.getoption("gcma_board")
        if named:
            return [str(board_file(name, config.invocation_params.dir)) for name in named]
    except DtsError as error:
        raise pytest.UsageError(f"gcma: {error}") from error
    return [str(path) for path in config.getini("gcma_boards")]


def _scope(fixture_name: str, config: pytest.Config) -> Literal["function", "module", "session"]:
    scope: Literal["function", "module", "session"] = config.getoption("gcma_scope")
    return scope


@pytest.fixture(scope=_scope)
def gcma_plan(request: pytest.FixtureRequest) -> Plan:
    """The board as it follows from its devicetree: machine, verdict on each region, place of the pool."""
    if not hasattr(request, "param"):
        pytest.fail(NO_BOARD, pytrace=False)
    from gcma.pytest_evidence import plan_of

    return plan_of(Path(request.param))


@pytest.fixture(scope=_scope)
def gcma_board(gcma_plan: Plan, request: pytest.FixtureRequest) -> Iterator[Board]:
    """A booted board. One that was lost in a test is up again for the next."""
    from gcma.pytest_evidence import powered

    with powered(gcma_plan, request.config) as board:
        yield board


@pytest.fixture
def gcma_area(gcma_board: Board) -> ContiguousArea:
    """The model's guaranteed area, over the board's own memory."""
    return gcma_board.area


@pytest.fixture
def gcma_camera(gcma_board: Board) -> Iterator[CameraDriver]:
    """The board's camera; frames that a test does not release are released after it."""
    from board import CameraDriver

    with CameraDriver(gcma_board) as camera:
        yield camera


@pytest.fixture
def gcma_display(gcma_board: Board) -> DisplayDriver:
    """The board's screen."""
    from board import DisplayDriver

    return DisplayDriver(gcma_board)


@pytest.fixture
def gcma_dma(gcma_board: Board) -> DmaDriver:
    """The board's DMA controller."""
    from board import DmaDriver

    return DmaDriver(gcma_board)


@pytest.fixture
def gcma_case(gcma_board: Board) -> Callable[[str], Verdict]:
    """Runs one of the firmware's own cases by its id, ``camera.ring``; fails or skips the test as it ends."""
    from gcma.pytest_evidence import run_case

    def run(case_id: str) -> Verdict:
        __tracebackhide__ = True
        return run_case(gcma_board, case_id)

    return run


@pytest.fixture
def gcma_trace(gcma_board: Board, request: pytest.FixtureRequest) -> Callable[..., Verdict]:
    """Repeats the requests of a trace, a file beside the test's; fails or skips the test as it ends."""
    from gcma.pytest_evidence import run_trace

    def run(trace: str | Path, area: str | None = None) -> Verdict:
        __tracebackhide__ = True
        return run_trace(gcma_board, request.path.parent / trace, area)

    return run
