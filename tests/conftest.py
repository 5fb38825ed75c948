"""What all tests share: how hypothesis runs, the boards, and which tests can run here."""

from pathlib import Path

import pytest
from hypothesis import settings

import dts

# No deadline: the machine that runs the tests has other work, too.
settings.register_profile("gcma", deadline=None, print_blob=True)
settings.register_profile("nightly", parent=settings.get_profile("gcma"), max_examples=2000)
settings.load_profile("gcma")

BOARD_NAMES = ("rpi-4-b", "rpi-3-b")


@pytest.fixture(scope="session")
def boards() -> Path:
    """The folder of the boards that come with the package."""
    return Path(dts.__file__).parent / "boards"


@pytest.fixture(params=BOARD_NAMES)
def each_board(request: pytest.FixtureRequest, boards: Path) -> Path:
    """The devicetree source of each board in turn."""
    return boards / f"{request.param}.dts"
