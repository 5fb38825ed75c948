"""The doorbell protocol: how the firmware asks the host for things.

One page of shared memory, its place told to the firmware in ``/chosen``
(``gcma,doorbell``), holds one request and one reply. The guest writes operation,
arguments and text, then the sequence number; the host answers and writes the same
number last. All numbers are little-endian. The camera's and the 3D block's registers,
both devices that QEMU lacks, lie in the same page.

This module is the only definition: :func:`c_header` writes what the firmware includes.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAGIC: Final = 0x414D4347  # "GCMA"
VERSION: Final = 1
DOORBELL_BYTES: Final = 0x1000
TEXT_BYTES: Final = 768
PAGE_BYTES: Final = 4096
BATCH_PAGES: Final = 256
"""The most pages one PUT or GET names: the hits of a GET come back as bits."""
CAMERA_SLOTS: Final = 8

CHOSEN_DOORBELL: Final = "gcma,doorbell"
"""Property of ``/chosen``: address and size of the doorbell page, two 64-bit numbers."""
CHOSEN_RAM: Final = "gcma,ram"
"""Property of ``/chosen``: all RAM as (address, size) pairs of 64-bit numbers.

QEMU writes its own /memory node, which lacks what raspi4b has above 1 GiB."""
PLACED: Final = "gcma,placed"
"""Property of a reserved-memory node: where the kernel would put it, two 64-bit numbers."""


class Op(IntEnum):
    """What the guest asks for; arguments and reply values in order.

    A reply's status is 0 or a negative errno, then its text says why.
    """

    HELLO = 1  # version, dtb, exception level, image end, pool base, pool size
    NEXT = 2  # -> case number, or a Directive and its arguments
    REPORT = 3  # case or Directive, Outcome, bytes verified, counter ticks, two results; text: message
    ALLOC = 4  # Device, size -> cpu address, bus address, size
    FREE = 5  # Device, cpu address, size
    PUT = 6  # inode, index, count, source -> pages stored
    GET = 7  # inode, index, count, destination -> hits, then their bits, 64 a value
    INVALIDATE = 8  # inode -> pages dropped
    DMA = 9  # channel, bus address of the control block, DmaFlag
    CHECK = 10  # cpu address, size, seed -> differing words
    FRAME = 11  # cpu address, Format, width, height, stride, frame -> differing bytes
    SCREEN = 12  # width, height, frame, x, y of the frame at the screen's corner -> differing pixels
    STATS = 13  # -> total pages, available pages, cached pages, allocations, failures, dropped
    REACH = 14  # Device, cpu address, size: may the device use it?
    STALE = 15  # pages seen with bytes other than put; the host counts them
    CHANGE = 16  # Change, inode, first page, count -> entries dropped, 1 where the revision leaves stale ones


class Directive(IntEnum):
    """What NEXT may answer instead of a case's number; arguments and results in order.

    From DMA on the firmware lends the host its hands, and reports as it does of a case.
    """

    CONSOLE = 0xFFFF0001
    HALT = 0xFFFF0002
    DMA = 0xFFFF0003  # channel, bus address of the first control block, DmaFlag
    CAPTURE = 0xFFFF0004  # bus address, Format, width and height in two halves, stride, frame
    SCREEN = 0xFFFF0005  # width, height -> framebuffer's cpu address, bytes a line


class Outcome(IntEnum):
    """How a case ended, in the guest's words."""

    PASSED = 0
    FAILED = 1
    SKIPPED = 2
    FAULT = 3


class Change(IntEnum):
    """How a file's content changes behind its cached pages; each is a hazard of some revision."""

    TRUNCATE = 1  # the pages end
    DIRECT_WRITE = 2  # they are written past the page cache
    LARGE_FOLIO = 3  # a large folio replaces them, is written and leaves memory


class Format(IntEnum):
    """Pixel formats of the camera."""

    RGBA8888 = 0
    RAW12 = 1  # two pixels in three bytes, as CSI-2 packs them


class DmaFlag(IntEnum):
    """Flags of a DMA request."""

    NONE = 0
    BEYOND_REACH = 1  # skip the 1 GiB rule: the demonstration of aliasing needs it broken


@dataclass(frozen=True, slots=True)
class Device:
    """A DMA client of the board: its name in results, and the devicetree nodes that are one."""

    number: int
    name: str
    compatible: tuple[str, ...]


DEVICES: Final = (
    Device(1, "camera", ("brcm,bcm2835-unicam", "brcm,bcm2711-unicam")),
    Device(2, "display", ("brcm,bcm2711-hvs", "brcm,bcm2835-hvs", "brcm,bcm2708-fb")),
    Device(3, "codec", ("raspberrypi,hevc-dec", "brcm,bcm2711-hevc-dec", "brcm,bcm2835-codec")),
    Device(4, "v3d", ("brcm,2711-v3d", "brcm,bcm2835-v3d")),
    Device(5, "dma", ("brcm,bcm2835-dma",)),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A device test that the firmware holds.

    ``needs`` names devices that must be in the tree; ``high_memory`` asks for RAM at or
    above 1 GiB; ``deadline`` is in seconds; a hidden case runs only when named.
    """

    number: int
    id: str
    device: str
    title: str
    needs: tuple[str, ...] = ()
    high_memory: bool = False
    deadline: float = 20.0
    hidden: bool = False


# fmt: off
CASES: Final = (
    Case(1, "boot.devicetree", "board", "firmware and host read the same pool out of the tree"),
    Case(10, "camera.fhd-rgba", "camera", "one 1920x1080 RGBA frame", needs=("camera",)),
    Case(11, "camera.12mp-raw", "camera", "one 4056x3040 raw12 frame", needs=("camera",)),
    Case(12, "camera.ring", "camera", "30 frames through a ring of 4 buffers", needs=("camera",)),
    Case(20, "display.blit", "display", "frame blitted by 2D DMA, screen compared",
         needs=("camera", "display", "dma")),
    Case(30, "dma.random", "dma", "100 copies of random size on random channels", needs=("dma",)),
    Case(31, "dma.channels", "dma", "all 15 channels copy", needs=("dma",)),
    Case(32, "dma.sizes", "dma", "4 KiB to 32 MiB", needs=("dma",), deadline=60.0),
    Case(33, "dma.2d", "dma", "rectangles between buffers of other pitch", needs=("dma",)),
    Case(34, "codec.chain", "codec", "planes of a picture by one chain of control blocks",
         needs=("codec", "dma")),
    Case(40, "v3d.texture", "v3d", "scattered pages behind an MMU, contiguous without", needs=("v3d",)),
    Case(50, "cache.roundtrip", "cache", "file pages put into the pool read back equal"),
    Case(51, "cache.reuse", "cache", "a device takes cached pages: miss or the right bytes",
         needs=("dma", "codec"), deadline=60.0),
    Case(52, "cache.invalidate", "cache", "a dropped file is never seen again"),
    Case(53, "hazard.truncate", "cache", "a file cut and grown again must not show its old pages (H1)"),
    Case(54, "hazard.direct-write", "cache", "direct writes must not leave old pages behind (H2)"),
    Case(55, "hazard.large-folio", "cache", "large folios must not leave old pages behind (H4)"),
    Case(60, "guarantee.fill", "codec", "cache full, then allocate to the last page",
         needs=("codec",), deadline=60.0),
    Case(61, "guarantee.rounds", "codec", "1,000 rounds of mixed sizes over a full cache",
         needs=("codec",), deadline=60.0),
    Case(70, "limit.alias", "dma", "a buffer above 1 GiB corrupts another page",
         needs=("dma",), high_memory=True),
    Case(71, "limit.refused", "camera", "the model refuses that buffer", needs=("camera",), high_memory=True),
    Case(80, "hostile.malformed", "doorbell", "malformed requests refused", needs=("codec",)),
    Case(81, "hostile.oversized", "doorbell", "oversized requests refused", needs=("codec",)),
    Case(82, "hostile.double-free", "doorbell", "double and partial free refused", needs=("codec",)),
    Case(83, "hostile.foreign", "doorbell", "addresses not the guest's refused", needs=("codec",)),
    Case(84, "hostile.dma", "dma", "broken control blocks refused before they start", needs=("dma", "codec")),
    Case(85, "hostile.serial", "console", "garbage on the serial line"),
    Case(86, "hostile.still-alive", "doorbell", "after all that, a buffer as ever", needs=("codec",)),
    Case(90, "fault.reported", "cpu", "a deliberate fault ends with its registers"),
    Case(200, "selftest.fault", "cpu", "an undefined instruction nobody expects", deadline=5.0, hidden=True),
    Case(201, "selftest.hang", "cpu", "a loop without end", deadline=1.0, hidden=True),
    Case(202, "selftest.wait", "cpu", "waits a while, for a kill from outside", hidden=True),
    Case(203, "selftest.runaway", "dma", "a DMA that freezes QEMU itself",
         needs=("dma",), deadline=3.0, hidden=True),
)
# fmt: on


# ---- the page -------------------------------------------------------------------

REQUEST: Final = struct.Struct("<II6Q")  # sequence, Op, arguments
REPLY: Final = struct.Struct("<Ii6Q")  # sequence, status, values
REQUEST_AT: Final = 0x040
REPLY_AT: Final = 0x080
REQUEST_TEXT_AT: Final = 0x200
REPLY_TEXT_AT: Final = 0x500
CAMERA_AT: Final = 0x800
V3D_AT: Final = 0x900

CAMERA: Final = struct.Struct("<10I8Q8I")
"""control, format, width, height, stride, first frame, queued, done, error, zero;
bus addresses of the queue; frame numbers of the done. ``queued`` is the guest's,
``done`` and ``error`` are the device's; slot = number modulo CAMERA_SLOTS."""
CAMERA_FIELDS: Final = (
    "control",
    "format",
    "width",
    "height",
    "stride",
    "first",
    "queued",
    "done",
    "error",
    "zero",
)
CAMERA_DONE_AT: Final = CAMERA_AT + 4 * CAMERA_FIELDS.index("done")
CAMERA_ERROR_AT: Final = CAMERA_AT + 4 * CAMERA_FIELDS.index("error")
CAMERA_QUEUE_AT: Final = CAMERA_AT + 4 * len(CAMERA_FIELDS)
CAMERA_FRAMES_AT: Final = CAMERA_QUEUE_AT + 8 * CAMERA_SLOTS

V3D: Final = struct.Struct("<IIII4Q")
"""kick, done, error, use MMU; page table, address, size, seed. The table has one 32-bit
entry a page, pfn | V3D_VALID; kick and done are sequence numbers."""
V3D_DONE_AT: Final = V3D_AT + 4
V3D_VALID: Final = 1 << 28


def _enum_lines(prefix: str, values: type[IntEnum]) -> Iterable[str]:
    return (f"#define {prefix}_{item.name} {item.value:#x}u" for item in values)


def c_header() -> str:
    """The same definitions as a C header, which :mod:`guest.build` puts beside the sources."""
    page = {
        "DOORBELL_MAGIC": MAGIC,
        "DOORBELL_VERSION": VERSION,
        "DOORBELL_BYTES": DOORBELL_BYTES,
        "TEXT_BYTES": TEXT_BYTES,
        "BATCH_PAGES": BATCH_PAGES,
        "REQUEST_AT": REQUEST_AT,
        "REPLY_AT": REPLY_AT,
        "REQUEST_TEXT_AT": REQUEST_TEXT_AT,
        "REPLY_TEXT_AT": REPLY_TEXT_AT,
        "CAMERA_AT": CAMERA_AT,
        "CAMERA_SLOTS": CAMERA_SLOTS,
        "V3D_AT": V3D_AT,
        "V3D_VALID": V3D_VALID,
    }
    lines = ["/* Written by guest/protocol.py, the one definition of the doorbell. */", "#pragma once", ""]
    lines += [f"#define {name} {value:#x}u" for name, value in page.items()]
    lines += [
        f'#define CHOSEN_DOORBELL "{CHOSEN_DOORBELL}"',
        f'#define CHOSEN_RAM "{CHOSEN_RAM}"',
        f'#define PLACED "{PLACED}"',
        "",
    ]
    for prefix, values in (
        ("OP", Op),
        ("DIRECTIVE", Directive),
        ("OUTCOME", Outcome),
        ("CHANGE", Change),
        ("FORMAT", Format),
        ("DMA", DmaFlag),
    ):
        lines += [*_enum_lines(prefix, values), ""]
    lines += [f"#define DEVICE_{device.name.upper()} {device.number}u" for device in DEVICES]
    lines += [
        "",
        "/* name, number, compatible strings, the list ended by a null */",
        "#define DEVICE_LIST(X) \\",
    ]
    for device in DEVICES:
        names = ", ".join(f'"{name}"' for name in device.compatible)
        lines.append(f'\tX("{device.name}", {device.number}u, {names}) \\')
    lines += ["", "/* function, number, id */", "#define CASE_LIST(X) \\"]
    for case in CASES:
        function = "case_" + case.id.replace(".", "_").replace("-", "_")
        lines.append(f'\tX({function}, {case.number}u, "{case.id}") \\')
    lines += ["", ""]
    return "\n".join(lines)
