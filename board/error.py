"""Errors of the board room.

::

    BoardError
    ├── MachineError        no emulated machine fits the tree, or QEMU is missing or too old
    ├── RefusedBoardError   the tree cannot be booted as it is; QEMU was not started
    ├── RequestError        what a test asked of a running board was refused; the board goes on
    ├── LaunchError         QEMU ended before the firmware spoke
    └── LostBoardError      the board was there, and is no more of use
        ├── DiedError       QEMU ended
        ├── FaultError      the firmware faulted while it did what a test asked
        ├── DeadlineError   the guest or QEMU did not answer in time
        └── ProtocolError   the guest speaks another protocol, or read another board out of the tree
"""


class BoardError(Exception):
    """Base of all errors of this package."""


class MachineError(BoardError):
    """No emulated machine fits the tree, or QEMU is missing or too old; the message says how to get it."""


class RefusedBoardError(BoardError):
    """The tree cannot be booted as it is. Usual cause: a pool that lies where it cannot; see the message."""


class RequestError(BoardError):
    """What a test asked of a running board was refused, by the host's checks or by the firmware.

    Nothing was done, and the board goes on. Usual causes: a device that the tree has not, an address
    in no buffer, a broken control block; see the message.
    """


class EvidenceError(BoardError):
    """An error that keeps what was known at the time.

    :ivar command: QEMU's command line, to paste
    :ivar serial: the end of what the guest wrote on its serial line, printable
    :ivar stderr: the end of what QEMU wrote on its standard error
    :ivar pool: what the pool was used for, drawn
    """

    def __init__(
        self, message: str, *, command: str = "", serial: str = "", stderr: str = "", pool: str = ""
    ) -> None:
        super().__init__(message)
        self.command = command
        self.serial = serial
        self.stderr = stderr
        self.pool = pool

    def sections(self) -> list[tuple[str, str]]:
        """All that is known, as titles and texts."""
        known = (
            ("serial", self.serial),
            ("stderr", self.stderr),
            ("pool", self.pool),
            ("command", self.command),
        )
        return [(title, text.rstrip()) for title, text in known if text.strip()]

    def evidence(self) -> str:
        """The message and all that is known, over several lines."""
        parts = [str(self)]
        for title, text in self.sections():
            parts += [f"--- {title}", text]
        return "\n".join(parts)


class LaunchError(EvidenceError):
    """QEMU ended before the firmware spoke; ``stderr`` usually says why."""


class LostBoardError(EvidenceError):
    """The board was there, and is no more of use: start another."""


class DiedError(LostBoardError):
    """QEMU ended: by a signal from outside, or by an error of its own (see ``stderr``)."""


class FaultError(LostBoardError):
    """The firmware faulted while it did what a test asked: its memory may be in any state."""


class DeadlineError(LostBoardError):
    """The guest or QEMU did not answer in time, and was killed.

    Usual causes: a loop in the guest, or a DMA that never ends, which freezes QEMU as a whole.
    """


class ProtocolError(LostBoardError):
    """The guest speaks another protocol, or read another board out of the tree than the host did."""
