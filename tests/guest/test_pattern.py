"""The bytes both sides expect: Python's against the firmware's own C, built for this machine."""

import ctypes
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guest import pattern
from guest.protocol import PAGE_BYTES, Format, c_header

WORDS = st.integers(0, 2**64 - 1)
NUMBERS = st.integers(0, 2**32 - 1)


class Frame(ctypes.Structure):
    """``struct frame`` of guest/firmware/pattern.h."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("form", "width", "height", "stride", "number")]


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """guest/firmware/pattern.c as a library of this machine."""
    if not shutil.which("gcc"):
        pytest.skip("no compiler for this machine")
    folder = tmp_path_factory.mktemp("pattern")
    sources = resources.files("guest") / "firmware"
    for name in ("pattern.c", "pattern.h", "lib.h"):
        (folder / name).write_text((sources / name).read_text())
    (folder / "protocol.h").write_text(c_header())
    options = ["-std=gnu11", "-O2", "-ffreestanding", "-nostdlib", "-fPIC", "-shared", "-Wall", "-Werror"]
    subprocess.run(["gcc", *options, "-o", "pattern.so", "pattern.c"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "pattern.so"))
    for function, arguments in (("mix", 1), ("page_seed", 2), ("fill", 3), ("differing", 3)):
        getattr(library, function).argtypes = [ctypes.c_uint64] * arguments
        getattr(library, function).restype = ctypes.c_uint64
    library.line_bytes.argtypes = [ctypes.c_uint32, ctypes.c_uint32]
    library.line_bytes.restype = ctypes.c_uint32
    library.frame_differing.argtypes = [ctypes.c_uint64, ctypes.POINTER(Frame)]
    library.frame_differing.restype = ctypes.c_uint64
    return library


any_frame = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(seed=WORDS)
def test_mix_agrees(firmware: ctypes.CDLL, seed: int) -> None:
    assert pattern.mix(seed) == firmware.mix(seed)


@given(inode=NUMBERS, index=st.integers(0, 2**52 - 1))
def test_page_seed_agrees(firmware: ctypes.CDLL, inode: int, index: int) -> None:
    assert pattern.page_seed(inode, index) == firmware.page_seed(inode, index)


@any_frame
@given(seed=WORDS, count=st.integers(0, 2000))
def test_buffers_agree_byte_for_byte(firmware: ctypes.CDLL, seed: int, count: int) -> None:
    there = np.zeros(count, np.uint64)
    firmware.fill(there.ctypes.data, 8 * count, seed)
    here = pattern.words(seed, 8 * count)
    assert np.array_equal(here, there)
    assert firmware.differing(here.ctypes.data, 8 * count, seed) == 0


@given(seed=WORDS, at=st.integers(0, 511), bit=st.integers(0, 63))
def test_one_wrong_bit_is_one_wrong_word(firmware: ctypes.CDLL, seed: int, at: int, bit: int) -> None:
    page = pattern.words(seed, PAGE_BYTES).copy()
    page[at] ^= np.uint64(1 << bit)
    assert firmware.differing(page.ctypes.data, PAGE_BYTES, seed) == 1


FRAMES = st.tuples(
    st.sampled_from(Format), st.integers(1, 700), st.integers(1, 40), st.integers(0, 9), NUMBERS
)


def framed(form: Format, width: int, height: int, padding: int, number: int) -> tuple[np.ndarray, Frame]:
    """A frame in memory, as the camera writes it, and what the firmware is told of it."""
    line = pattern.line_bytes(form, width)
    stride = (line + 7) // 8 * 8 + 8 * padding
    memory = np.zeros((height, stride), np.uint8)
    memory[:, :line] = pattern.frame_lines(form, width, height, number)
    return memory, Frame(form, width, height, stride, number)


@any_frame
@given(FRAMES)
def test_frames_agree_byte_for_byte(firmware: ctypes.CDLL, about: tuple[Format, int, int, int, int]) -> None:
    memory, frame = framed(*about)
    assert firmware.line_bytes(frame.form, frame.width) == pattern.line_bytes(about[0], frame.width)
    assert firmware.frame_differing(memory.ctypes.data, ctypes.byref(frame)) == 0


@any_frame
@given(FRAMES, st.data())
def test_one_wrong_byte_of_a_frame_is_seen(
    firmware: ctypes.CDLL, about: tuple[Format, int, int, int, int], data: st.DataObject
) -> None:
    memory, frame = framed(*about)
    y = data.draw(st.integers(0, frame.height - 1))
    line = pattern.line_bytes(about[0], frame.width)
    memory[y, data.draw(st.integers(0, line - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert firmware.frame_differing(memory.ctypes.data, ctypes.byref(frame)) in (1, 8)


@any_frame
@given(FRAMES)
def test_padding_does_not_count(firmware: ctypes.CDLL, about: tuple[Format, int, int, int, int]) -> None:
    memory, frame = framed(*about)
    memory[:, pattern.line_bytes(about[0], frame.width) :] = 0x5A
    assert firmware.frame_differing(memory.ctypes.data, ctypes.byref(frame)) == 0


def test_known_words() -> None:
    # SplitMix64's published first output for seed 0
    assert pattern.mix(0) == 0xE220A8397B1DCDAF
    assert pattern.words(0, 16).tolist() == [0xE220A8397B1DCDAF, (0xE220A8397B1DCDAF + pattern.STEP) % 2**64]


def test_no_two_words_of_a_buffer_alike() -> None:
    assert len(np.unique(pattern.words(7, 1 << 20))) == 1 << 17


def test_pages_of_files_differ() -> None:
    seeds = {pattern.page_seed(inode, index) for inode in range(64) for index in range(64)}
    assert len(seeds) == 64 * 64


@pytest.mark.parametrize("form", Format)
def test_frames_differ_from_one_to_the_next(form: Format) -> None:
    first, second = (pattern.frame_lines(form, 640, 480, number) for number in (1, 2))
    assert (first != second).mean() > 0.2


def test_a_picture_is_opaque_and_drifts() -> None:
    one, two = pattern.picture(64, 64, 1), pattern.picture(64, 64, 2)
    assert (one >> 24 == 0xFF).all()
    assert np.array_equal(one[4:, 8:] & 0xFFFF, two[:-4, :-8] & 0xFFFF)


def test_header_names_the_same_format(tmp_path: Path) -> None:
    assert f"#define FORMAT_RAW12 {Format.RAW12.value:#x}u" in c_header()
