"""The page both sides look at: who writes what, and that nothing changes under the host's hands."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from board.doorbell import Doorbell, Reply
from guest import protocol
from guest.protocol import TEXT_BYTES, Op


class Guest:
    """The other side of the page."""

    def __init__(self) -> None:
        self.page = np.full(protocol.DOORBELL_BYTES, 0xEE, np.uint8)
        self.bell = Doorbell(self.page)
        self.sequence = 0

    def ring(self, operation: int, *arguments: int, text: bytes = b"") -> None:
        self.sequence = (self.sequence + 1) & 0xFFFF_FFFF
        start = protocol.REQUEST_TEXT_AT
        self.page[start : start + TEXT_BYTES] = np.frombuffer(text.ljust(TEXT_BYTES, b"\0"), np.uint8)
        padded = (*arguments, *(0,) * (6 - len(arguments)))
        protocol.REQUEST.pack_into(self.page, protocol.REQUEST_AT, self.sequence, operation, *padded)

    def reply(self) -> tuple[int, ...]:
        return protocol.REPLY.unpack_from(self.page, protocol.REPLY_AT)

    def text(self) -> bytes:
        start = protocol.REPLY_TEXT_AT
        return self.page[start : start + TEXT_BYTES].tobytes().partition(b"\0")[0]


def test_the_page_starts_clean() -> None:
    guest = Guest()
    assert guest.page[:8].view("<u4").tolist() == [protocol.MAGIC, protocol.VERSION]
    assert not guest.page[8:].any()
    assert guest.bell.poll() is None


def test_request_and_reply() -> None:
    guest = Guest()
    guest.ring(Op.ALLOC, 3, 4096, text=b"hello")
    request = guest.bell.poll()
    assert request is not None
    assert (request.sequence, request.operation, request.arguments, request.text) == (
        1, Op.ALLOC, (3, 4096, 0, 0, 0, 0), "hello",
    )  # fmt: skip
    guest.bell.answer(request, Reply(-22, (1, 2), "no"))
    assert guest.reply() == (1, -22, 1, 2, 0, 0, 0, 0)
    assert guest.text() == b"no"
    assert guest.bell.poll() is None


def test_a_request_waits_until_it_is_answered() -> None:
    guest = Guest()
    guest.ring(Op.NEXT)
    assert guest.bell.poll() == guest.bell.poll()


def test_what_the_guest_changes_afterwards_does_not_count() -> None:
    guest = Guest()
    guest.ring(Op.FREE, 3, 0x1000, 4096)
    request = guest.bell.poll()
    guest.page[protocol.REQUEST_AT : protocol.REQUEST_AT + 64] = 0xFF
    assert request is not None
    assert request.arguments == (3, 0x1000, 4096, 0, 0, 0)


def test_a_short_reply_hides_the_one_before() -> None:
    guest = Guest()
    for reply, text in ((Reply(0, (1, 2, 3, 4, 5, 6), "a long text"), b"a long text"), (Reply(), b"")):
        guest.ring(Op.STATS)
        request = guest.bell.poll()
        assert request is not None
        guest.bell.answer(request, reply)
        assert guest.text() == text
    assert guest.reply()[2:] == (0,) * 6


def test_sequence_numbers_wrap() -> None:
    guest = Guest()
    guest.sequence = 0xFFFF_FFFE
    for sequence in (0xFFFF_FFFF, 0):
        guest.ring(Op.NEXT)
        request = guest.bell.poll()
        assert request is not None
        assert request.sequence == sequence
        guest.bell.answer(request, Reply())
        assert guest.bell.poll() is None


def test_the_sequence_number_is_written_last() -> None:
    guest = Guest()
    guest.ring(Op.NEXT)
    request = guest.bell.poll()
    assert request is not None
    seen: list[int] = []

    class Watched(str):
        """Text that looks at the page while it is written."""

        def encode(self, *_: object, **__: object) -> bytes:
            seen.append(guest.reply()[0])
            return b"text"

    guest.bell.answer(request, Reply(text=Watched("text")))
    assert seen == [0]
    assert guest.reply()[0] == 1


@given(st.text(max_size=2000))
def test_any_reply_fits(text: str) -> None:
    guest = Guest()
    guest.ring(Op.NEXT)
    request = guest.bell.poll()
    assert request is not None
    guest.bell.answer(request, Reply(text=text))
    assert len(guest.text()) < TEXT_BYTES
    assert not guest.page[protocol.CAMERA_AT :].any()


@given(st.binary(max_size=TEXT_BYTES))
def test_any_text_is_printable(text: bytes) -> None:
    guest = Guest()
    guest.ring(Op.REPORT, text=text)
    request = guest.bell.poll()
    assert request is not None
    assert all(character.isprintable() or character in "\n\t" for character in request.text)


@given(st.binary(min_size=64, max_size=64), st.integers(0, 255))
def test_any_page(request_bytes: bytes, rest: int) -> None:
    guest = Guest()
    guest.page[:] = rest
    guest.page[protocol.REQUEST_AT : protocol.REQUEST_AT + 64] = np.frombuffer(request_bytes, np.uint8)
    request = guest.bell.poll()
    if request is not None:
        guest.bell.answer(request, Reply(0, (2**64 - 1,) * 6))
        assert guest.bell.poll() is None
