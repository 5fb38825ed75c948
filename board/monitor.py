"""QMP, made synchronous: the board asks QEMU for little, and waits for it."""

import asyncio
import contextlib
import socket
from typing import Final

from qemu.qmp import QMPClient, QMPError

from board.error import BoardError

QMP_SECONDS: Final = 10.0


class MonitorError(BoardError):
    """QEMU refused a command, or did not answer in time."""


class Monitor:
    """A connection to QEMU's monitor; the handshake happens at the first command."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = QMPClient("gcma")

    def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        """Run a command and return its answer.

        :raise MonitorError: refused, no answer in QMP_SECONDS, or the connection is lost
        """
        try:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._wait(self._client.connect(self._line))
            return self._wait(self._client.execute(command, arguments))
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            reason = str(error) or f"no answer within {QMP_SECONDS:g} s"
            raise MonitorError(f"QMP {command}: {reason}") from error

    def _wait(self, task: "object") -> object:
        assert self._loop is not None
        return self._loop.run_until_complete(asyncio.wait_for(task, QMP_SECONDS))  # type: ignore[arg-type]

    def close(self) -> None:
        """Leave; QEMU stays."""
        if self._loop is None:
            return
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            self._wait(self._client.disconnect())
        self._loop.close()
        self._loop = None
