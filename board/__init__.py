"""The emulated board: from a devicetree to verified bytes.

:func:`load_plan` decides all that can be decided before QEMU starts; :class:`Board` boots it
and runs the firmware's cases; :class:`TestRun` runs many, on a fresh board after each that
was lost. Errors derive from :class:`BoardError`, whose tree is in :mod:`board.error`.
``docs/board.md`` tells how host and guest share memory, and what QEMU cannot show.
"""

from board.board import Board, State, Verdict
from board.driver import CameraDriver, DisplayDriver, DmaDriver, Frame
from board.error import (
    BoardError,
    DeadlineError,
    DiedError,
    EvidenceError,
    FaultError,
    LaunchError,
    LostBoardError,
    MachineError,
    ProtocolError,
    RefusedBoardError,
    RequestError,
)
from board.machine import MACHINES, Machine
from board.plan import Plan, load_plan, make_plan
from board.playback import Playback
from board.recording import Recording, load_recording
from board.tally import Tally
from board.testrun import ALL_TESTS, Result, Test, TestResult, TestRun

__all__ = [  # noqa: RUF022  from the most to the least used, errors last
    "load_plan",
    "make_plan",
    "Plan",
    "Board",
    "State",
    "Verdict",
    "CameraDriver",
    "DisplayDriver",
    "DmaDriver",
    "Frame",
    "Recording",
    "load_recording",
    "Playback",
    "TestRun",
    "TestResult",
    "Test",
    "Result",
    "Tally",
    "ALL_TESTS",
    "Machine",
    "MACHINES",
    "BoardError",
    "MachineError",
    "RefusedBoardError",
    "RequestError",
    "EvidenceError",
    "LaunchError",
    "LostBoardError",
    "DiedError",
    "FaultError",
    "DeadlineError",
    "ProtocolError",
]
