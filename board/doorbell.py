"""The host's side of the doorbell page (see :mod:`guest.protocol`)."""

import errno
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from board.console import printable
from guest import protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One request, copied out of shared memory: the guest can no longer change it. Its text is printable."""

    sequence: int
    operation: int
    arguments: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: 0 or a negative errno, up to six numbers, and the reason of a refusal."""

    status: int = 0
    values: tuple[int, ...] = ()
    text: str = ""


class Refusal(Exception):  # noqa: N818  an answer to the guest, not an error of ours
    """A request that is not granted."""

    def __init__(self, text: str, status: int = -errno.EINVAL) -> None:
        super().__init__(text)
        self.status = status


class Doorbell:
    """The page, and whether somebody rang."""

    def __init__(self, page: NDArray[np.uint8]) -> None:
        self.page = page
        self._bytes = page.data
        # one aligned 32-bit load or store each, which the guest sees whole
        words = self._bytes.cast("I")
        self._rung = words[protocol.REQUEST_AT // 4 : protocol.REQUEST_AT // 4 + 1]
        self._done = words[protocol.REPLY_AT // 4 : protocol.REPLY_AT // 4 + 1]
        self._answered = 0
        page[: protocol.DOORBELL_BYTES] = 0
        header = np.array([protocol.MAGIC, protocol.VERSION], dtype="<u4")
        page[:8] = header.view(np.uint8)

    def poll(self) -> Request | None:
        """The request that waits for an answer, if any."""
        if self._rung[0] == self._answered:
            return None
        sequence, operation, *arguments = protocol.REQUEST.unpack_from(self._bytes, protocol.REQUEST_AT)
        text = b""
        if self._bytes[protocol.REQUEST_TEXT_AT]:
            start = protocol.REQUEST_TEXT_AT
            text = bytes(self._bytes[start : start + protocol.TEXT_BYTES]).partition(b"\0")[0]
        return Request(sequence, operation, tuple(arguments), printable(text))

    def answer(self, request: Request, reply: Reply) -> None:
        """Write the reply, its sequence number last."""
        text = reply.text.encode(errors="backslashreplace")[: protocol.TEXT_BYTES - 1]
        start = protocol.REPLY_TEXT_AT
        self._bytes[start : start + len(text) + 1] = text + b"\0"
        values = (*reply.values, *(0,) * (6 - len(reply.values)))
        protocol.REPLY.pack_into(self._bytes, protocol.REPLY_AT, self._answered, reply.status, *values)
        self._answered = request.sequence
        self._done[0] = request.sequence
