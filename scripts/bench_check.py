"""Bench rows of the devicetree checker: reading and judging, beside dtc and libfdt on the same files.

    scripts/bench_check.py [DIRECTORY]     a directory with .dtb files of real boards, else our own boards

The reference prints (dtc) or walks (pylibfdt) the same blobs; neither judges them. Sides run in turns.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dts
from dts.source import compile_source

BOARDS = Path(__file__).resolve().parent.parent / "dts" / "boards"
ROUNDS = 7
SAMPLE = 120


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def in_turns(*works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """The median of each, in milliseconds."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for times, work in zip(taken, works, strict=True):
            times.append(timed(work))
    return [statistics.median(times) for times in taken]


def run(*words: str | Path) -> None:
    # Captured, because a wait with a deadline alone looks only now and then.
    subprocess.run([str(word) for word in words], capture_output=True, timeout=60, check=False)


def by_libfdt(data: bytes) -> int:
    """All nodes and properties as Python objects."""
    import libfdt

    fdt = libfdt.Fdt(data)
    quiet = (libfdt.NOTFOUND,)
    offset, depth, items = 0, 0, 0
    while offset >= 0 and depth >= 0:
        at = fdt.first_property_offset(offset, quiet)
        while at >= 0:
            value = fdt.get_property_by_offset(at)
            items += len(bytes(value)) >= 0 and len(value.name) > 0
            at = fdt.next_property_offset(at, quiet)
        fdt.get_name(offset)
        offset, depth = fdt.next_node(offset, depth, quiet)
    return items


def large_tree(board: bytes, size: int) -> bytes:
    """A tree of about that size: the board's devices over and over."""
    tree = dts.read_blob(board, "board")
    soc = max(tree.root.children, key=lambda node: sum(1 for _ in node.walk()))
    for copy in range(size // max(len(board), 1) + 1):
        twin = tree.root.add(f"{soc.base_name}-copy-{copy}")
        twin.properties = dict(soc.properties)
        twin.children = soc.children
    return dts.flatten(tree)


def rows(directory: Path | None = None) -> Iterator[dict[str, object]]:
    """One row a figure."""
    source = BOARDS / "rpi-4-b.dts"
    blobs = sorted(directory.rglob("*.dtb")) if directory else []
    gcma = [sys.executable, "-m", "gcma", "check", "--no-map"]
    with tempfile.TemporaryDirectory() as folder:
        board = Path(folder, "rpi-4-b.dtb")
        board.write_bytes(compile_source(source.read_bytes(), str(source)))
        bare, from_source, from_blob, dtc = in_turns(
            lambda: run(sys.executable, "-c", "pass"),
            lambda: run(*gcma, source),
            lambda: run(*gcma, board),
            lambda: run("dtc", "-q", "-I", "dts", "-O", "dtb", source),
        )
        yield row("check of rpi-4-b.dts, dtc included", from_source, "dtc alone", dtc, "< 300 ms")
        yield row("check of rpi-4-b.dtb", from_blob, "python -c pass", bare, "<= 10x, <= 110 ms")

        files = blobs[:: max(1, len(blobs) // SAMPLE)] or [board]
        data = [path.read_bytes() for path in files]
        work = f"{len(data)} trees of real boards" if blobs else "our board"
        yield from beside(work, files, data, "")

        large = Path(folder, "large.dtb")
        large.write_bytes(large_tree(max(data, key=len), 1 << 20))
        size = f"a tree of {large.stat().st_size / 1e6:.1f} MB"
        yield from beside(size, [large], [large.read_bytes()], "< 1000 ms")


def beside(work: str, files: list[Path], data: list[bytes], goal: str) -> Iterator[dict[str, object]]:
    """Reading and judging beside dtc, which prints the files, and pylibfdt, which walks them."""

    def ours() -> None:
        for path in files:
            dts.examine(dts.load(path))

    def walk() -> None:
        for blob in data:
            by_libfdt(blob)

    def print_all() -> None:
        for path in files:
            run("dtc", "-q", "-I", "dtb", "-O", "dts", path)

    walked = None
    if importlib.util.find_spec("libfdt") is None:  # pylibfdt is not there
        judged, printed = in_turns(ours, print_all, rounds=3)
    else:
        judged, printed, walked = in_turns(ours, print_all, walk, rounds=3)
    what = f"{work}: read and judged"
    yield row(
        what, judged, "dtc -I dtb -O dts", printed, goal or f"{len(files) / judged * 1000:.0f} a second"
    )
    if walked is not None:
        yield row(what, judged, "pylibfdt to Python", walked, goal)


def row(work: str, ours_ms: float, peer: str, peer_ms: float, goal: str) -> dict[str, object]:
    return {
        "work": f"gcma check: {work}",
        "ours": f"{ours_ms:.1f} ms",
        "peer": f"{peer} {peer_ms:.1f} ms",
        "ratio": round(ours_ms / peer_ms, 2),
        "goal": goal,
    }


if __name__ == "__main__":
    for line in rows(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
        print(*line.values(), sep="  ")
