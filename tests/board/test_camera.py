"""The camera receiver on the host, driven through its registers."""

import errno
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.camera import SIDE_LIMIT, Camera, frame_objection
from guest import pattern, protocol
from guest.protocol import CAMERA_SLOTS, Format

ALIAS = 0xC000_0000
SLOT = 0x10_0000
WIDTH, HEIGHT, STRIDE = 64, 32, 256


class Bench:
    """A camera over a page and some RAM; nothing below 1 MiB may be written."""

    def __init__(self) -> None:
        self.page = np.zeros(protocol.DOORBELL_BYTES, np.uint8)
        self.ram = np.zeros(0x40_0000, np.uint8)
        self.camera = Camera(self.page, self.ram, self.objection)
        self.words = self.page[protocol.CAMERA_AT :].view("<u4")

    def objection(self, address: int, size: int) -> str | None:
        return None if address >= SLOT and address + size <= self.ram.size else f"{address:#x} is not yours"

    def field(self, name: str) -> int:
        return int(self.words[protocol.CAMERA_FIELDS.index(name)])

    def set(self, **fields: int) -> None:
        for name, value in fields.items():
            self.words[protocol.CAMERA_FIELDS.index(name)] = value

    def start(self, form: Format = Format.RGBA8888, first: int = 1, stride: int = STRIDE) -> None:
        self.set(control=1, format=form, width=WIDTH, height=HEIGHT, stride=stride, first=first)

    def queue(self, bus: int) -> None:
        slot = self.field("queued") % CAMERA_SLOTS
        struct.pack_into("<Q", self.page, protocol.CAMERA_QUEUE_AT + 8 * slot, bus)
        self.set(queued=(self.field("queued") + 1) & 0xFFFF_FFFF)

    def number(self, slot: int) -> int:
        return int(struct.unpack_from("<I", self.page, protocol.CAMERA_FRAMES_AT + 4 * slot)[0])

    def frame(self, at: int, stride: int = STRIDE) -> np.ndarray:
        return self.ram[at : at + stride * HEIGHT].reshape(HEIGHT, stride)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_idle(bench: Bench) -> None:
    assert not bench.camera.step()
    bench.start()
    assert not bench.camera.step()
    bench.set(control=0)
    bench.queue(ALIAS + SLOT)
    assert not bench.camera.step(), "a stopped camera wrote a frame"


@pytest.mark.parametrize("form", Format)
def test_frame(bench: Bench, form: Format) -> None:
    line = pattern.line_bytes(form, WIDTH)
    bench.ram[:] = 0x5A
    bench.start(form, first=9)
    bench.queue(ALIAS + SLOT)
    assert bench.camera.step()
    seen = bench.frame(SLOT)
    assert np.array_equal(seen[:, :line], pattern.frame_lines(form, WIDTH, HEIGHT, 9))
    assert (seen[:, line:] == 0x5A).all(), "padding was written"
    assert (bench.ram[:SLOT] == 0x5A).all()
    assert (bench.ram[SLOT + STRIDE * HEIGHT :] == 0x5A).all()
    assert (bench.field("done"), bench.number(0)) == (1, 9)
    assert not bench.camera.step()


@pytest.mark.parametrize("alias", [0, 0x4000_0000, 0x8000_0000, 0xC000_0000])
def test_the_translation_has_30_bits(bench: Bench, alias: int) -> None:
    bench.start()
    bench.queue(alias + SLOT)
    assert bench.camera.step()
    assert bench.ram[SLOT : SLOT + 4].any()


def test_one_frame_a_step_round_the_ring(bench: Bench) -> None:
    bench.start(first=100)
    for n in range(3 * CAMERA_SLOTS):
        bench.queue(ALIAS + SLOT + (n % 4) * 0x1_0000)
        assert bench.camera.step()
        assert bench.number(n % CAMERA_SLOTS) == 100 + n
    assert bench.camera.frames == 3 * CAMERA_SLOTS


def test_numbers_wrap(bench: Bench) -> None:
    bench.start(first=0xFFFF_FFFF)
    bench.set(queued=0xFFFF_FFFF, done=0xFFFF_FFFF)
    bench.queue(ALIAS + SLOT)
    assert bench.camera.step()
    assert (bench.field("done"), bench.field("error")) == (0, 0)
    assert bench.number(0xFFFF_FFFF % CAMERA_SLOTS) == 0xFFFF_FFFE
    wanted = pattern.frame_lines(Format.RGBA8888, WIDTH, HEIGHT, 0xFFFF_FFFE)
    assert np.array_equal(bench.frame(SLOT), wanted)


def test_a_bad_buffer(bench: Bench) -> None:
    bench.start()
    bench.queue(ALIAS + 0x1000)
    assert not bench.camera.step()
    assert bench.field("error") == errno.EINVAL
    assert bench.field("done") == 0
    assert bench.camera.refusal == "camera buffer at bus 0xc0001000: 0x1000 is not yours"
    assert not bench.ram.any()
    assert not bench.camera.step(), "it goes on after an error"


def test_more_buffers_than_the_ring_has(bench: Bench) -> None:
    bench.start()
    bench.set(queued=CAMERA_SLOTS + 1)
    assert not bench.camera.step()
    assert bench.camera.refusal == f"{CAMERA_SLOTS + 1} buffers queued, the ring has {CAMERA_SLOTS}"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ((7, 64, 32, 256), "pixel format 7: expected one of 0 (RGBA8888), 1 (RAW12)"),
        ((0, 0, 32, 256), "a frame of 0 x 32: expected 1 to 8192 pixels a side"),
        ((0, 64, SIDE_LIMIT + 1, 256), "a frame of 64 x 8193: expected 1 to 8192 pixels a side"),
        ((0, 64, 32, 252), "a stride of 252 bytes: expected a multiple of 8 from 256 on"),
        ((0, 64, 32, 260), "a stride of 260 bytes: expected a multiple of 8 from 256 on"),
        ((1, 64, 32, 88), "a stride of 88 bytes: expected a multiple of 8 from 96 on"),
        ((0, 64, 32, 1 << 31), f"a stride of {1 << 31} bytes: expected a multiple of 8 from 256 on"),
    ],
)
def test_frame_objection(frame: tuple[int, int, int, int], message: str) -> None:
    assert frame_objection(*frame) == message


@given(st.binary(min_size=protocol.CAMERA.size, max_size=protocol.CAMERA.size))
def test_any_registers(registers: bytes) -> None:
    bench = Bench()
    bench.page[protocol.CAMERA_AT : protocol.CAMERA_AT + len(registers)] = np.frombuffer(registers, np.uint8)
    bench.set(control=1, error=0)
    for _ in range(3):
        bench.camera.step()
    assert not bench.ram[:SLOT].any()


NEAR = st.one_of(st.integers(0, 4), st.integers(60, 70), st.integers(0, 2**32 - 1))


@given(
    form=NEAR,
    width=NEAR,
    height=NEAR,
    stride=st.one_of(NEAR, st.just(256)),
    first=NEAR,
    bus=st.integers(0, 2**64 - 1),
)
def test_any_frame_anywhere(form: int, width: int, height: int, stride: int, first: int, bus: int) -> None:
    bench = Bench()
    bench.set(control=1, format=form, width=width, height=height, stride=stride, first=first)
    bench.queue(bus)
    wrote = bench.camera.step()
    assert wrote == (bench.field("error") == 0)
    assert not bench.ram[:SLOT].any()
