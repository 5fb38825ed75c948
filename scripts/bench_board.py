"""Bench rows of the emulated board: how long a developer waits for the first verified DMA.

The reference is QEMU alone: the same machine and tree, a firmware of six instructions that
writes one character, the time from exec to that character. Both sides run in turns.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from board import Board, Plan, load_plan
from board.process import Qemu
from guest.build import toolchain
from guest.protocol import CASES, Directive

BOARDS = Path(__file__).resolve().parent.parent / "dts" / "boards"
ROUNDS = 7
RANDOM = next(case for case in CASES if case.id == "dma.random")

ONE_CHARACTER = """
        b       1f
        .word   0
        .quad   0, 0x10000, 0xa, 0, 0, 0
        .ascii  "ARM\\x64"
        .word   0
1:      ldr     x1, ={uart:#x}
        mov     w2, #0x301
        str     w2, [x1, #0x30]
        mov     w2, #'!'
        str     w2, [x1]
2:      wfi
        b       2b
"""
UART = {"raspi4b": 0xFE201000, "raspi3b": 0x3F201000}


def one_character(plan: Plan, folder: Path) -> Path:
    """An Image that writes one character, then sleeps."""
    (folder / "one.S").write_text(ONE_CHARACTER.format(uart=UART[plan.machine.name]))
    (folder / "link.ld").write_text("SECTIONS { . = 0x200000; .text : { *(.text) } }\n")
    for command in toolchain().commands(["one.S"]):
        subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder / "Image"


def first_character(plan: Plan, image: Path) -> float:
    """Seconds from exec of QEMU to the character."""
    began = time.perf_counter()
    with Qemu(plan.machine, image, plan.blob) as qemu:
        qemu.serial.settimeout(20)
        qemu.serial.recv(1)
        return time.perf_counter() - began


def first_dma(plan: Plan) -> tuple[float, float]:
    """Seconds from power-on to one verified DMA, and to 100 more."""
    began = time.perf_counter()
    with Board(plan) as board:
        source, target = board.allocate("codec", 4096), board.allocate("codec", 4096)
        blocks = board.allocate("codec", 4096)
        data = np.arange(4096, dtype=np.uint16).astype(np.uint8)
        board.memory(source.cpu_address, 4096)[:] = data
        block = np.array([0x118, source.bus_address, target.bus_address, 4096, 0, 0, 0, 0], dtype="<u4")
        board.memory(blocks.cpu_address, 32)[:] = block.view(np.uint8)
        board.obey(Directive.DMA, 0, blocks.bus_address)
        if not np.array_equal(board.memory(target.cpu_address, 4096), data):
            raise SystemExit("bench_board: the first DMA copied other bytes")
        first = time.perf_counter() - began
        for buffer in (source, target, blocks):
            board.free(buffer)
        verdict = board.run(RANDOM)
        if verdict.bytes_verified == 0:
            raise SystemExit(f"bench_board: {verdict.message}")
        return first, time.perf_counter() - began


def rows() -> Iterator[dict[str, object]]:
    """One row a board and figure."""
    for board in ("rpi-4-b", "rpi-3-b"):
        plan = load_plan(BOARDS / f"{board}.dts")
        with tempfile.TemporaryDirectory() as folder:
            image = one_character(plan, Path(folder))
            first_dma(plan)  # builds the firmware, fills caches
            alone, first, hundred = [], [], []
            for _ in range(ROUNDS):
                alone.append(first_character(plan, image))
                one, all_of_them = first_dma(plan)
                first.append(one)
                hundred.append(all_of_them)
        qemu, dma, dmas = (statistics.median(values) * 1000 for values in (alone, first, hundred))
        yield {
            "work": f"{board}: boot to first DMA verified",
            "ours": f"{dma:.0f} ms",
            "peer": f"QEMU's first character {qemu:.0f} ms",
            "ratio": round(dma / qemu, 2),
            "goal": "<= 2",
        }
        yield {
            "work": f"{board}: boot and 100 verified DMAs",
            "ours": f"{dmas:.0f} ms",
            "peer": f"QEMU's first character {qemu:.0f} ms",
            "ratio": round(dmas / qemu, 2),
            "goal": "< 250 ms",
        }


if __name__ == "__main__":
    for row in rows():
        print(*row.values(), sep="  ")
