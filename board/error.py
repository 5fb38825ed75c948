"""Errors of the board room.

::

    BoardError
    ├── MachineError        no emulated machine fits the tree, or QEMU is missing or too old
    ├── RefusedBoardError   the tree cannot be booted as it is; QEMU was not started
    ├── LaunchError         QEMU ended before the firmware spoke
    └── LostBoardError      the board was there, and is no more of use
        ├── DiedError       QEMU ended
        ├── DeadlineError   the guest or QEMU did not answer in time
        └── ProtocolError   the guest speaks another protocol, or read another board out of the tree
"""


class BoardError(Exception):
    """Base of all errors of this package."""


class MachineError(BoardError):
    """No emulated machine fits the tree, or QEMU is missing or too old; the message says how to get it."""


class RefusedBoardError(BoardError):
    """The tree cannot be booted as it is. Usual cause: a pool that lies where it cannot; see the message."""


class EvidenceError(BoardError):
    """An error that keeps what was known at the time.

    :ivar command: QEMU's command line, to paste
    :ivar serial: the end of what the guest wrote on its serial line, printable
    :ivar stderr: the end of what QEMU wrote on its standard error
    """

    def __init__(self, message: str, *, command: str = "", serial: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.command = command
        self.serial = serial
        self.stderr = stderr

    def evidence(self) -> str:
        """The message and all that is known, over several lines."""
        parts = [str(self)]
        for title, text in (("serial", self.serial), ("stderr", self.stderr), ("command", self.command)):
            if text.strip():
                parts += [f"--- {title}", text.rstrip()]
        return "\n".join(parts)


class LaunchError(EvidenceError):
    """QEMU ended before the firmware spoke; ``stderr`` usually says why."""


class LostBoardError(EvidenceError):
    """The board was there, and is no more of use: start another."""


class DiedError(LostBoardError):
    """QEMU ended: by a signal from outside, or by an error of its own (see ``stderr``)."""


class DeadlineError(LostBoardError):
    """The guest or QEMU did not answer in time, and was killed.

    Usual causes: a loop in the guest, or a DMA that never ends, which freezes QEMU as a whole.
    """


class ProtocolError(LostBoardError):
    """The guest speaks another protocol, or read another board out of the tree than the host did."""
