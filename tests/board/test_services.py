"""What the host grants and refuses a guest, which may ask for anything."""

import errno
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from board.controlblock import copy
from board.machine import DOORBELL
from guest import pattern, protocol
from guest.protocol import BATCH_PAGES, DEVICES, PAGE_BYTES, DmaFlag, Format, Op, Outcome

DEVICE = {device.name: device.number for device in DEVICES}
CAMERA, DISPLAY, CODEC, V3D, DMA = (DEVICE[n] for n in ("camera", "display", "codec", "v3d", "dma"))
FREE_MEMORY = 0x0500_0000
POOL = 0x1000_0000
POOL_BYTES = 0x40_0000

Hosts = Callable[..., Any]


@pytest.fixture
def one(hosts: Hosts, small: str) -> Any:
    """A host with a pool of 4 MiB."""
    return hosts(small)


# ---- the course of a run


def test_hello(one: Any) -> None:
    assert one.services.hello is None
    assert one.ask(Op.HELLO, protocol.VERSION, 0x800_0000, 2, 0x30_0000, POOL, POOL_BYTES).status == 0
    assert one.services.hello[4:6] == (POOL, POOL_BYTES)


def test_hello_of_another_protocol(one: Any) -> None:
    reply = one.ask(Op.HELLO, 7)
    assert (reply.status, reply.text) == (-errno.EPROTO, f"protocol 7: expected {protocol.VERSION}")
    assert one.services.hello is None


def test_next_waits_for_a_case(one: Any) -> None:
    assert one.try_ask(Op.NEXT) is None
    one.services.next = (50,)
    assert one.ask(Op.NEXT).values[0] == 50
    assert one.try_ask(Op.NEXT) is None


def test_report(one: Any) -> None:
    one.services.next = (50,)
    one.ask(Op.NEXT)
    assert one.ask(Op.REPORT, 50, Outcome.PASSED, 4096, 0, text="fine").status == 0
    report = one.services.report
    assert (report.number, report.outcome, report.bytes_verified, report.message) == (
        50, Outcome.PASSED, 4096, "fine",
    )  # fmt: skip


def test_report_of_what_does_not_run(one: Any) -> None:
    assert one.refused(Op.REPORT, 50, 0) == "case 50 does not run"
    one.services.next = (50,)
    one.ask(Op.NEXT)
    assert one.refused(Op.REPORT, 51, 0) == "case 51 does not run"
    assert one.refused(Op.REPORT, 50, 9) == "case 50: 9 is no outcome"
    assert one.services.report is None


def test_unknown_operation(one: Any) -> None:
    reply = one.ask(0x77)
    assert (reply.status, reply.text) == (-errno.ENOSYS, f"operation 0x77: expected 1 to {max(Op)}")


# ---- buffers


def test_buffer_goes_and_comes_back(one: Any) -> None:
    cpu, bus, size = one.ask(Op.ALLOC, CODEC, 10_000).values
    assert (cpu, bus, size) == (POOL, POOL + 0xC000_0000, 3 * PAGE_BYTES)
    assert one.area.available_count == POOL_BYTES // PAGE_BYTES - 3
    assert one.ask(Op.FREE, CODEC, cpu, size).status == 0
    assert one.area.available_count == POOL_BYTES // PAGE_BYTES
    assert one.tally.allocations == 1


def test_the_dma_controller_takes_its_clients_pool(one: Any) -> None:
    assert one.ask(Op.ALLOC, DMA, PAGE_BYTES).values[0] == POOL


def test_the_buffer_that_an_address_lies_in(one: Any) -> None:
    buffers = one.services.buffers
    held = [buffers.hold("codec", size * PAGE_BYTES) for size in (1, 3, 2)]
    buffers.let_go(held[1])
    for page in range(-1, POOL_BYTES // PAGE_BYTES + 1):
        for address in (POOL + page * PAGE_BYTES, POOL + page * PAGE_BYTES + PAGE_BYTES - 1):
            found = buffers.at(address)
            expected = [
                each for each in buffers.all() if 0 <= address - each.cpu_address < each.count * PAGE_BYTES
            ]
            assert ([found.base] if found else []) == [each.cpu_address for each in expected]


def test_a_chain_over_very_many_buffers_is_checked_soon(one: Any) -> None:
    """Each of 65536 blocks names another of 1024 buffers: the host must not look at all of them each time."""
    addresses = [one.ask(Op.ALLOC, CODEC, PAGE_BYTES).values[0] for _ in range(POOL_BYTES // PAGE_BYTES)]
    count = 65536
    table = FREE_MEMORY
    blocks = np.zeros((count, 8), "<u4")
    bus = np.array(addresses, np.uint64) + 0xC000_0000
    blocks[:, 0] = copy(0, 0, 0, 64).information
    blocks[:, 1] = bus[np.arange(count) % len(bus)]
    blocks[:, 2] = bus[np.arange(count)[::-1] % len(bus)]
    blocks[:, 3] = 64
    blocks[:-1, 5] = (table + 0xC000_0000 + 32 * np.arange(1, count)).astype("<u4")
    one.ram[table : table + blocks.nbytes] = blocks.view(np.uint8).reshape(-1)
    began = time.process_time()
    assert one.ask(Op.DMA, 0, table + 0xC000_0000, 0).status == 0
    assert time.process_time() - began < 20


def test_a_full_pool_answers_in_the_kernels_words(one: Any) -> None:
    assert one.ask(Op.ALLOC, CODEC, POOL_BYTES).status == 0
    reply = one.ask(Op.ALLOC, CODEC, PAGE_BYTES)
    assert reply.status == -errno.EBUSY
    assert reply.text == ("cma: __cma_alloc_frozen: pool@10000000: alloc failed, req-size: 1 pages, ret: -16")
    assert (one.tally.allocations, one.tally.allocation_failures) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, PAGE_BYTES), "device 0: this board has none of that number"),
        ((2**64 - 1, PAGE_BYTES), f"device {2**64 - 1}: this board has none of that number"),
        ((CODEC, 0), "/soc/codec@7e807000: a buffer of 0 bytes makes no sense: ask for at least 1"),
    ],
)
def test_allocation_refused(one: Any, arguments: tuple[int, ...], message: str) -> None:
    assert one.refused(Op.ALLOC, *arguments) == message


@pytest.mark.parametrize("size", [POOL_BYTES + 1, 1 << 40, 1 << 63, 2**64 - 1])
def test_more_than_there_is(one: Any, size: int) -> None:
    assert one.refused(Op.ALLOC, CODEC, size).startswith("cma: ")


def test_free_refused(one: Any) -> None:
    cpu, _, size = one.ask(Op.ALLOC, CODEC, 4 * PAGE_BYTES).values
    assert one.refused(Op.FREE, CODEC, cpu + PAGE_BYTES, PAGE_BYTES) == (
        f"free of {cpu + PAGE_BYTES:#x}: no buffer begins there"
    )
    assert one.refused(Op.FREE, DMA, cpu, size) == f"free of {cpu:#x}: device 3 has it, device 5 asks"
    assert one.refused(Op.FREE, CODEC, cpu, size // 2) == (
        f"free of {cpu:#x}: the buffer has 16384 bytes, not 8192"
    )
    assert one.ask(Op.FREE, CODEC, cpu, size).status == 0
    assert one.refused(Op.FREE, CODEC, cpu, size) == f"free of {cpu:#x}: no buffer begins there"


def test_release_all_takes_back_what_is_left(one: Any) -> None:
    for _ in range(3):
        one.ask(Op.ALLOC, CODEC, PAGE_BYTES)
    assert one.services.buffers.release_guests() == 3
    assert one.area.available_count == POOL_BYTES // PAGE_BYTES
    assert one.services.buffers.release_guests() == 0


def test_reach(one: Any) -> None:
    assert one.ask(Op.REACH, CAMERA, FREE_MEMORY, PAGE_BYTES).values == (FREE_MEMORY + 0xC000_0000,)
    assert one.refused(Op.REACH, CAMERA, 0x3F00_0000, PAGE_BYTES) == (
        "/soc/csi@7e801000: a buffer that ends at 0x3f000fff lies beyond 0x3effffff, the highest address "
        "that the device's DMA reaches: allocate it from a region below"
    )
    assert one.refused(Op.REACH, CAMERA, 2**64 - 1, 2) == f"2 bytes at {2**64 - 1:#x} are no range"


def test_a_device_behind_an_mmu_needs_no_pool(host: Any) -> None:
    if not host.model.device(host.plan.devices["v3d"]).reach.iommu:
        pytest.skip("this board's has none")
    assert host.refused(Op.ALLOC, V3D, PAGE_BYTES) == (
        "/v3dbus@7c500000/v3d@7ec00000: the device sits behind an MMU and takes scattered pages: "
        "it needs no area"
    )


# ---- the cleancache


def fill(one: Any, inode: int, count: int) -> None:
    for index in range(count):
        at = FREE_MEMORY + index * PAGE_BYTES
        one.ram[at : at + PAGE_BYTES] = pattern.file_pages(inode, [index]).view(np.uint8)[0]


def test_pages_come_back_equal(one: Any) -> None:
    fill(one, 7, BATCH_PAGES)
    assert one.ask(Op.PUT, 7, 0, BATCH_PAGES, FREE_MEMORY).values[0] == BATCH_PAGES
    one.ram[FREE_MEMORY : FREE_MEMORY + BATCH_PAGES * PAGE_BYTES] = 0
    hits, *bits = one.ask(Op.GET, 7, 0, BATCH_PAGES, FREE_MEMORY).values
    assert hits == BATCH_PAGES
    assert bits[:4] == [2**64 - 1] * 4
    for index in range(BATCH_PAGES):
        seen = one.ram[FREE_MEMORY + index * PAGE_BYTES :][:PAGE_BYTES].view(np.uint64)
        assert np.array_equal(seen, pattern.file_pages(7, [index])[0])
    assert (one.tally.put, one.tally.hit, one.tally.miss) == (BATCH_PAGES, BATCH_PAGES, 0)


def test_hits_are_told_by_bits(one: Any) -> None:
    fill(one, 7, 2)
    one.ask(Op.PUT, 7, 1, 1, FREE_MEMORY)
    one.ask(Op.PUT, 7, 66, 1, FREE_MEMORY)
    assert one.ask(Op.GET, 7, 0, 100, FREE_MEMORY).values[:3] == (2, 1 << 1, 1 << 2)
    assert (one.tally.hit, one.tally.miss) == (2, 98)


def test_a_buffer_drops_the_pages_in_its_way(one: Any) -> None:
    fill(one, 7, 256)
    for inode in range(4):
        one.ask(Op.PUT, inode, 0, 256, FREE_MEMORY)
    assert one.ask(Op.STATS).values[:3] == (1024, 1024, 1024)
    one.ask(Op.ALLOC, CODEC, POOL_BYTES // 2)
    assert one.ask(Op.STATS).values == (1024, 512, 512, 1, 0, 512)


def test_invalidate(one: Any) -> None:
    fill(one, 7, 16)
    one.ask(Op.PUT, 7, 0, 16, FREE_MEMORY)
    assert one.ask(Op.INVALIDATE, 7).values == (16,)
    assert one.ask(Op.GET, 7, 0, 16, FREE_MEMORY).values[0] == 0


@pytest.mark.parametrize("op", [Op.PUT, Op.GET])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1 << 32, 0, 1, FREE_MEMORY), "inode 0x100000000: expected at most 32 bits"),
        ((1, 0, 0, FREE_MEMORY), "0 pages in one request: expected 1 to 256"),
        ((1, 0, 257, FREE_MEMORY), "257 pages in one request: expected 1 to 256"),
        ((1, 1 << 52, 1, FREE_MEMORY), "page index 0x10000000000000: a file has at most "
                                       "0x10000000000000 pages"),
        ((1, 0, 1, FREE_MEMORY + 8), "pages at 0x5000008: expected a multiple of 4096"),
        ((1, 0, 1, 1 << 40), "0x10000000000..0x10000000fff is not in RAM"),
        ((1, 0, 1, DOORBELL.base), "0x100000..0x100fff covers the doorbell page at 0x100000..0x100fff"),
        ((1, 0, 1, POOL), "0x10000000..0x10000fff lies in the pool at 0x10000000..0x103fffff, "
                          "but in no allocated buffer"),
    ],
)  # fmt: skip
def test_pages_refused(one: Any, op: Op, arguments: tuple[int, ...], message: str) -> None:
    assert one.refused(op, *arguments) == message


def test_invalidate_refused(one: Any) -> None:
    assert one.refused(Op.INVALIDATE, 1 << 32) == "inode 0x100000000: expected at most 32 bits"


def test_stale_pages_are_counted(one: Any) -> None:
    one.ask(Op.STALE, 3)
    assert one.tally.stale_reads == 3


# ---- checks


def control_block(one: Any, at: int, *words: int) -> int:
    one.ram[at : at + 32] = np.frombuffer(struct.pack("<8I", *words), np.uint8)
    return at + 0xC000_0000


def test_dma(one: Any) -> None:
    cpu, bus, _ = one.ask(Op.ALLOC, CODEC, PAGE_BYTES).values
    copy = (0x110, FREE_MEMORY + 0xC000_1000, bus, PAGE_BYTES, 0, 0, 0, 0)
    assert one.ask(Op.DMA, 0, control_block(one, FREE_MEMORY, *copy), 0).status == 0
    one.ask(Op.FREE, CODEC, cpu, PAGE_BYTES)
    assert one.refused(Op.DMA, 0, FREE_MEMORY + 0xC000_0000, 0) == (
        "control block at bus 0xc5000000: destination: 0x10000000..0x10000fff lies in the pool at "
        "0x10000000..0x103fffff, but in no allocated buffer"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((15, 0), "DMA channel 15: expected 0 to 14"),
        ((2**64 - 1, 0), f"DMA channel {2**64 - 1}: expected 0 to 14"),
        ((0, 0, 2), "DMA flags 0x2: only 0x1 is known"),
        ((0, 1 << 32), "control block at bus 0x100000000: expected 32 bits"),
        ((0, 0xC010_0000), "control block: 0x100000..0x10001f covers the doorbell page at "
                           "0x100000..0x100fff"),
        ((0, 0xD000_0000), "control block: 0x10000000..0x1000001f lies in the pool at "
                           "0x10000000..0x103fffff, but in no allocated buffer"),
    ],
)  # fmt: skip
def test_dma_refused(one: Any, arguments: tuple[int, ...], message: str) -> None:
    assert one.refused(Op.DMA, *arguments) == message


def test_dma_beyond_reach_only_when_asked_for(one: Any) -> None:
    # the same memory by an alias that dma-ranges does not list
    copy = (0x110, FREE_MEMORY, FREE_MEMORY + 0x1000, 64, 0, 0, 0, 0)
    block = control_block(one, FREE_MEMORY + 0x2000, *copy)
    assert one.refused(Op.DMA, 0, block, 0) == (
        "control block at bus 0xc5002000: source: bus 0x5000000 lies outside 0xc0000000..0xfeffffff, "
        "all that dma-ranges lets /soc/dma-controller@7e007000 reach"
    )
    assert one.ask(Op.DMA, 0, block, DmaFlag.BEYOND_REACH).status == 0


def test_dma_on_a_board_without_it(hosts: Hosts, small: str) -> None:
    one = hosts(small.replace("brcm,bcm2835-dma", "some,other-dma"))
    assert one.refused(Op.DMA, 0, FREE_MEMORY + 0xC000_0000, 0) == "this board has no DMA controller"


def test_check(one: Any) -> None:
    one.ram[FREE_MEMORY : FREE_MEMORY + PAGE_BYTES] = pattern.words(5, PAGE_BYTES).view(np.uint8)
    assert one.ask(Op.CHECK, FREE_MEMORY, PAGE_BYTES, 5).values == (0,)
    assert one.ask(Op.CHECK, FREE_MEMORY, PAGE_BYTES, 6).values == (512,)
    one.ram[FREE_MEMORY + 9] ^= 1
    assert one.ask(Op.CHECK, FREE_MEMORY, PAGE_BYTES, 5).values == (1,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FREE_MEMORY, 12), "check of 12 bytes at 0x5000000: expected whole words, at most 256 MiB"),
        ((FREE_MEMORY + 4, 8), "check of 8 bytes at 0x5000004: expected whole words, at most 256 MiB"),
        ((0x1100_0000, 0x1100_0000), "check of 285212672 bytes at 0x11000000: expected whole words, "
                                     "at most 256 MiB"),
        ((FREE_MEMORY, 0), "0x5000000: 0 bytes are no range"),
    ],
)  # fmt: skip
def test_check_refused(one: Any, arguments: tuple[int, ...], message: str) -> None:
    assert one.refused(Op.CHECK, *arguments) == message


@pytest.mark.parametrize("form", Format)
def test_frame(one: Any, form: Format) -> None:
    width, height, stride = 64, 16, 512
    lines = pattern.frame_lines(form, width, height, 9)
    area = one.ram[FREE_MEMORY : FREE_MEMORY + stride * height].reshape(height, stride)
    area[:, : lines.shape[1]] = lines
    about = (FREE_MEMORY, form, width, height, stride)
    assert one.ask(Op.FRAME, *about, 9).values == (0,)
    assert one.ask(Op.FRAME, *about, (1 << 32) + 9).values == (0,)
    area[3, 5] ^= 255
    assert one.ask(Op.FRAME, *about, 9).values == (1,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FREE_MEMORY, 7, 16, 16, 64), "pixel format 7: expected one of 0 (RGBA8888), 1 (RAW12)"),
        ((FREE_MEMORY, 0, 0, 16, 64), "a frame of 0 x 16: expected 1 to 8192 pixels a side"),
        ((FREE_MEMORY, 0, 16, 1 << 32, 64), f"a frame of 16 x {1 << 32}: expected 1 to 8192 pixels a side"),
        ((FREE_MEMORY, 0, 16, 16, 60), "a stride of 60 bytes: expected a multiple of 8 from 64 on"),
        ((FREE_MEMORY, 0, 16, 16, 68), "a stride of 68 bytes: expected a multiple of 8 from 64 on"),
        ((POOL, 0, 16, 16, 64), "0x10000000..0x100003ff lies in the pool at 0x10000000..0x103fffff, "
                                "but in no allocated buffer"),
    ],
)  # fmt: skip
def test_frame_refused(one: Any, arguments: tuple[int, ...], message: str) -> None:
    assert one.refused(Op.FRAME, *arguments) == message


def test_screen(hosts: Hosts, small: str) -> None:
    shown = pattern.picture(64 + 10, 48 + 20, 4)[20:, 10:].copy()
    pixels = shown.view(np.uint8).reshape(48, 64, 4)[:, :, :3].copy()
    one = hosts(small, picture=pixels)
    assert one.ask(Op.SCREEN, 64, 48, 4, 10, 20).values == (0,)
    pixels[1, 2, 0] ^= 1
    pixels[1, 3] ^= 1
    assert one.ask(Op.SCREEN, 64, 48, 4, 10, 20).values == (2,)
    assert one.refused(Op.SCREEN, 65, 48, 4, 10, 20) == "the screen shows 64 x 48 pixels, not 65 x 48"
    assert one.refused(Op.SCREEN, 64, 48, 4, 10, 5000) == (
        "a screen of 64 x 48 at 10, 5000: expected 1 to 4096 pixels a side"
    )


# ---- a guest that asks for anything

EDGES = [
    0, 1, 7, 8, 63, 64, 4095, PAGE_BYTES, 2 * PAGE_BYTES, BATCH_PAGES, BATCH_PAGES + 1,
    DOORBELL.base, DOORBELL.end, FREE_MEMORY, POOL - PAGE_BYTES, POOL, POOL + PAGE_BYTES,
    POOL + POOL_BYTES - PAGE_BYTES, POOL + POOL_BYTES, POOL_BYTES, POOL_BYTES + 1,
    0x3C00_0000, 0x3FFF_F000, 0x4000_0000, 0x7E00_7000, 0xC000_0000, 0xC000_0000 + FREE_MEMORY,
    0xC000_0000 + POOL, 0xFFFF_FFFF, 1 << 32, 1 << 51, (1 << 52) - 1, 1 << 52, 1 << 63, 2**64 - 1,
]  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from(EDGES), st.integers(0, 8), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
)
REQUESTS = st.tuples(
    st.one_of(st.sampled_from(Op), st.integers(0, 2**32 - 1)),
    st.lists(NUMBERS, min_size=6, max_size=6),
    st.text(max_size=20),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUESTS, max_size=40), garbage=st.binary(min_size=32, max_size=64))
def test_no_request_ends_the_host_or_loses_a_page(
    hosts: Hosts, small: str, requests: list[tuple[int, list[int], str]], garbage: bytes
) -> None:
    one = hosts(small)
    one.ram[FREE_MEMORY : FREE_MEMORY + len(garbage)] = np.frombuffer(garbage, np.uint8)
    one.ram[DOORBELL.base : DOORBELL.end] = 0xA5
    for operation, arguments, text in requests:
        before = one.ask(Op.STATS).values[:3]
        reply = one.try_ask(operation, *arguments, text=text)
        if reply is not None and reply.status < 0:
            assert one.ask(Op.STATS).values[:3] == before
    assert (one.ram[DOORBELL.base : DOORBELL.end] == 0xA5).all()
    one.services.buffers.release_guests()
    assert one.area.available_count == one.area.count


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_the_host_writes_never_lies_in_foreign_memory(
    hosts: Hosts, small: str, data: st.DataObject
) -> None:
    """GET is the one request by which the host writes where the guest says."""
    one = hosts(small)
    fill(one, 1, BATCH_PAGES)
    for inode in range(5):
        one.ask(Op.PUT, inode, 0, BATCH_PAGES, FREE_MEMORY)
    cpu, _, size = one.ask(Op.ALLOC, CODEC, data.draw(st.integers(1, 20)) * PAGE_BYTES).values
    pool = one.ram[POOL : POOL + POOL_BYTES].copy()
    count, at = data.draw(st.integers(1, 30)), data.draw(st.integers(-40, 40)) * PAGE_BYTES + cpu
    reply = one.ask(Op.GET, data.draw(st.integers(0, 6)), data.draw(st.integers(0, 300)), count, max(at, 0))
    changed = np.flatnonzero(one.ram[POOL : POOL + POOL_BYTES] != pool) + POOL
    assert all(cpu <= byte < cpu + size for byte in changed)
    end = at + count * PAGE_BYTES
    assert (reply.status == 0) == (end <= POOL or (cpu <= at and end <= cpu + size))
