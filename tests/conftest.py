"""What all tests share: how hypothesis runs, the boards, and which tests can run here."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

import dts

# No deadline: the machine that runs the tests has other work, too. A change is not to blame for an example
# that CI meets for the first time: there they repeat; the nightly run looks for new ones.
settings.register_profile("gcma", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.register_profile(
    "nightly", parent=settings.get_profile("gcma"), derandomize=False, max_examples=2000
)
settings.load_profile("gcma")

# What a shell starts in the background ignores Ctrl-C and passes that on: tests that send one would wait in
# vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BOARD_NAMES = ("rpi-4-b", "rpi-3-b")


@pytest.fixture(scope="session")
def boards() -> Path:
    """The folder of the boards that come with the package."""
    return Path(dts.__file__).parent / "boards"


@pytest.fixture(params=BOARD_NAMES)
def each_board(request: pytest.FixtureRequest, boards: Path) -> Path:
    """The devicetree source of each board in turn."""
    return boards / f"{request.param}.dts"


@pytest.fixture(scope="session")
def need_qemu() -> Callable[[Path], Path]:
    """Skips when this machine's QEMU is too old for a board; otherwise the board."""
    from board import MachineError, load_plan
    from board.machine import require_qemu

    def need(path: Path) -> Path:
        try:
            require_qemu(load_plan(path).machine)
        except MachineError as error:
            pytest.skip(str(error))
        return path

    return need
