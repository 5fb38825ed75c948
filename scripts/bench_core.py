"""Bench rows of the allocator's core: search, cleancache, replay, sizing.

Both sides take turns in one process; times are CPU times, so that a busy machine disturbs both alike and
little. The word-by-word search in C is scripts/bench_scan.c, built here with gcc -O2.
"""

import ctypes
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from allocator import Cleancache, GuaranteedArea, PhysicalMemory, runs
from allocator.compiled import Ints, Longs, Rows, Table, Words, compiled
from allocator.replay import PLACES, Kind, Machine, replay
from allocator.runs import Runs, clear, find, mark
from allocator.sizing import study
from allocator.steps import enter, give, hit, store_many
from allocator.trace import ALLOC, FREE, READ
from allocator.trace_oracle import RECORD

HERE = Path(__file__).resolve().parent
ROUNDS = 5
SLOTS = 256
REQUESTS = 10_000_000
OBJECTS = 2_000_000


def interleaved(**sides: Callable[[], None]) -> dict[str, float]:
    """Median CPU seconds of each side over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, work in sides.items():
            begin = time.process_time()
            work()
            times[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def row(work: str, ours: str, peer: str, ratio: float | None, goal: str) -> dict[str, object]:
    return {
        "work": work,
        "ours": ours,
        "peer": peer,
        "ratio": None if ratio is None else float(f"{ratio:.3g}"),
        "goal": goal,
    }


@compiled(at_once=True)
def operate(
    words: Words, tree: Ints, size: int, slots: Longs, wants: Longs, masks: Longs, held: Rows, places: Longs
) -> int:
    """The operations of bench_scan.c's `run`."""
    failed = 0
    for k in range(len(slots)):
        slot = slots[k]
        if held[slot, 1]:
            clear(words, tree, size, held[slot, 0], held[slot, 1])
            held[slot, 1] = 0
            places[k] = -2
            continue
        at = find(words, tree, size, wants[k], masks[k], 0, 0)
        places[k] = at
        if at < 0:
            failed += 1
            continue
        mark(words, tree, size, at, wants[k])
        held[slot, 0], held[slot, 1] = at, wants[k]
    return failed


def fragmented(state: Runs, part: float, rng: np.random.Generator) -> None:
    """Take extents of 1 to 64 pages at random places until `part` of the pages is taken."""
    bits = np.zeros(len(state.words) * 64, np.uint8)
    while (left := int(part * state.count) - int(bits.sum())) > 0:
        sizes = rng.integers(1, 65, left // 48 + 1)
        starts = rng.integers(0, state.count - 64, len(sizes))
        edges = np.zeros(len(bits) + 1, np.int32)
        np.add.at(edges, starts, 1)
        np.add.at(edges, starts + sizes, -1)
        bits |= np.cumsum(edges)[:-1] > 0
    bits[state.count :] = 1
    state.words[:] = np.packbits(bits, bitorder="little").view(np.uint64)
    if len(state.tree):
        runs._renew.native(state.words, state.tree, 0, 64 * len(state.words))


def search_times(
    scan: Callable[..., int], base: Runs, ops: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Seconds an operation for us and for C, on the same operations, with the same answers."""
    slots = rng.integers(0, SLOTS, ops)
    orders = rng.integers(0, 11, ops)
    wants = ((1 << orders) * rng.uniform(0.5, 1, ops)).astype(np.int64) + 1
    masks = (1 << np.minimum(np.ceil(np.log2(wants)).astype(np.int64), 8)) - 1
    mine, theirs = np.empty(ops, np.int64), np.empty(ops, np.int64)

    def ours() -> None:
        held = np.zeros((SLOTS, 2), np.int64)
        operate(base.words.copy(), base.tree.copy(), base.count, slots, wants, masks, held, mine)

    def peer() -> None:
        words = base.words.copy()
        arrays = slots, wants, masks, np.zeros(SLOTS, np.int64), np.zeros(SLOTS, np.int64), theirs
        scan(words.ctypes.data, base.count, *(each.ctypes.data for each in arrays), ops)

    operate.native  # noqa: B018  compile before the clock runs
    times = interleaved(ours=ours, c=peer)
    copying = interleaved(both=lambda: (base.words.copy(), base.tree.copy()), words=base.words.copy)
    if not np.array_equal(mine, theirs):
        raise SystemExit("bench_core: the two searches place differently")
    return (times["ours"] - copying["both"]) / ops, (times["c"] - copying["words"]) / ops


def searches() -> Iterator[dict[str, object]]:
    """First-fit search with its bookkeeping, against the C scan; growth with the area."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "scan.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "bench_scan.c"], check=True)
        scan = ctypes.CDLL(str(library)).run
    scan.argtypes = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 6, ctypes.c_int64]
    growth: dict[int, tuple[float, float]] = {}
    states = (
        ("fragmented", 0.1),
        ("fragmented", 0.5),
        ("fragmented", 0.9),
        ("compact", 0.5),
        ("compact", 0.9),
    )
    for mib, name in ((64, "64 MiB"), (1024, "1 GiB"), (65536, "64 GiB")):
        for kind, part in states:
            rng = np.random.default_rng(1)
            base = Runs(mib * 256)
            if kind == "compact":
                base.mark(0, int(part * base.count))
            else:
                fragmented(base, part, rng)
            mine, theirs = search_times(scan, base, 5_000 if mib > 1024 else 50_000, rng)
            goal = ">= 0.8x" if mib == 64 else (">= 100x" if mib > 1024 and part > 0.1 else "-")
            work = f"search and mark, {name}, {kind} {part:.0%} full"
            yield row(
                work, f"{mine * 1e9:.0f} ns/op", f"C word scan {theirs * 1e9:,.0f} ns/op", theirs / mine, goal
            )
            if (kind, part) == ("fragmented", 0.5):
                growth[mib] = (mine, theirs)
    (mine_small, theirs_small), (mine_large, theirs_large) = growth[64], growth[65536]
    yield row(
        "growth of the search, 64 MiB -> 64 GiB (1024x)",
        f"{mine_large / mine_small:.2g}x slower",
        f"C word scan {theirs_large / theirs_small:,.0f}x slower",
        None,
        "O(log n)",
    )


@compiled(at_once=True)
def cache(frames: Table, table: Ints, inodes: Ints, counts: Longs, ids: Longs) -> int:
    """A plain LRU cache: get, and put on a miss."""
    misses = 0
    for k in range(len(ids)):
        if hit(frames, table, inodes, counts, 0, ids[k]) == 0:
            misses += 1
            enter(frames, table, inodes, counts, 0, ids[k])
    return misses


def zipf() -> np.ndarray:
    rng = np.random.default_rng(1)
    weights = np.cumsum(1 / np.arange(1, OBJECTS + 1))
    ranks = np.searchsorted(weights / weights[-1], rng.random(REQUESTS)).clip(max=OBJECTS - 1)
    return rng.permutation(OBJECTS)[ranks].astype(np.int64)


def pool(pages: int, places: int = 2) -> tuple[Cleancache, GuaranteedArea]:
    clean = Cleancache(PhysicalMemory(np.zeros(pages * 4096, np.uint8)), places=places)
    return clean, GuaranteedArea("bench", 0, pages, clean)


def lru(ids: np.ndarray, path: Path, pages: int, powers: tuple[int, ...], goal: str) -> dict[str, object]:
    """One row: our LRU list and libCacheSim's, with the best of its hash sizes."""
    import libcachesim

    misses: dict[str, float] = {}

    def ours() -> None:
        clean, _area = pool(pages, PLACES)
        misses["ours"] = cache(clean.frames, clean.table, clean.inodes, clean.counts, ids) / len(ids)

    def peer(power: int) -> None:
        form = libcachesim.TraceType.ORACLE_GENERAL_TRACE
        reader = libcachesim.TraceReader(str(path), form, libcachesim.ReaderInitParam(ignore_obj_size=True))
        misses["peer"] = libcachesim.LRU(pages, hashpower=power).process_trace(reader)[0]

    for step in (cache, give):
        step.native  # noqa: B018  compile before the clock runs
    times = interleaved(ours=ours, **{f"hash 2^{power}": partial(peer, power) for power in powers})
    if abs(misses["ours"] - misses["peer"]) > 1e-6:
        raise SystemExit(f"bench_core: LRU misses differ: {misses}")
    mine = times.pop("ours")
    best = min(times, key=times.__getitem__)
    return row(
        f"LRU of {pages:,} pages as gcma replay has it, 10 M zipf",
        f"{len(ids) / mine / 1e6:.1f} M/s",
        f"libCacheSim, {best}: {len(ids) / times[best] / 1e6:.1f} M/s",
        times[best] / mine,
        goal,
    )


def caches(ids: np.ndarray) -> Iterator[dict[str, object]]:
    """10 M zipf requests to an LRU list, against libCacheSim's and cachebox's."""
    import cachebox

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zipf.oracleGeneral.bin"
        records = np.zeros(len(ids), RECORD)
        records["id"], records["size"], records["next"] = ids, 1, -1
        records.tofile(path)
        yield lru(ids, path, 16_384, (15, 17), ">= 2.5x")
        yield lru(ids, path, 262_144, (19, 20), ">= 4x")
    some = ids[:1_000_000]

    def box() -> None:
        found = cachebox.LRUCache(16_384)
        for each in some.tolist():
            if found.get(each) is None:
                found[each] = True

    def ours_too() -> None:
        clean, _area = pool(16_384)
        cache(clean.frames, clean.table, clean.inodes, clean.counts, some)

    times = interleaved(ours=ours_too, box=box)
    yield row(
        "LRU of 16,384 pages, 1 M zipf requests",
        f"{1 / times['ours']:.1f} M/s",
        f"cachebox from Python: {1 / times['box']:.1f} M/s",
        times["box"] / times["ours"],
        "-",
    )
    clean, _area = pool(65_536)
    size = (clean.frames.nbytes + clean.table.nbytes) / 65_536
    yield row("memory of a cached page, its bytes aside", f"{size:.1f} B", "-", None, "<= 40 B")


def copies() -> Iterator[dict[str, object]]:
    """Putting and getting pages, against memcpy of the same bytes."""
    pages = 32_768
    data = np.random.default_rng(1).integers(0, 256, pages * 4096, dtype=np.uint8)
    out = np.empty_like(data)
    in_order, scattered = np.arange(pages), np.random.default_rng(2).permutation(pages)

    def filled() -> tuple[Cleancache, int]:
        clean, _area = pool(pages)
        fs = clean.add_fs()
        clean.put_pages(fs, 1, in_order, data)
        return clean, fs

    def put(clean: Cleancache, fs: int, order: np.ndarray, batch: int) -> None:
        for first in range(0, pages, batch):
            part = data[first * 4096 : (first + batch) * 4096]
            clean.put_pages(fs, 1, order[first : first + batch], part)

    def get(clean: Cleancache, fs: int, order: np.ndarray, batch: int) -> None:
        for first in range(0, pages, batch):
            part = out[first * 4096 : (first + batch) * 4096]
            clean.get_pages(fs, 1, order[first : first + batch], part)

    # Two of them: the LRU list is left in the order of the last use.
    clean, fs = filled()
    target = clean.memory.ram
    cases = {
        f"{one.__name__}, {batch:,} pages a call, {name}": (partial(one, *where, order, batch), goal)
        for where, order, name, batch, goal in (
            ((clean, fs), in_order, "contiguous", 2048, ">= 0.9x"),
            ((clean, fs), in_order, "contiguous", 256, "-"),
            (filled(), scattered, "scattered", 256, ">= 0.6x"),
        )
        for one in (put, get)
    }
    times = interleaved(
        memcpy=lambda: ctypes.memmove(target.ctypes.data, data.ctypes.data, data.nbytes),
        **{work: run for work, (run, _goal) in cases.items()},
    )
    speed = {name: data.nbytes / seconds / 1e9 for name, seconds in times.items()}
    peer = f"memcpy {speed['memcpy']:.1f} GB/s"
    for work, (_run, goal) in cases.items():
        yield row(work, f"{speed[work]:.1f} GB/s", peer, speed[work] / speed["memcpy"], goal)
    page, few, calls = bytearray(4096), 64, 20_000
    source = bytes(page)

    def single(one: Callable[[int], object]) -> Callable[[], None]:
        def run() -> None:
            for k in range(calls):
                one(k % few)

        return run

    view = memoryview(target)
    times = interleaved(
        copy=single(lambda k: view.__setitem__(slice(k * 4096, k * 4096 + 4096), source)),
        put=single(lambda k: clean.put(fs, 1, k, source)),
        get=single(lambda k: clean.get(fs, 1, k, page)),
    )
    for name in ("put", "get"):
        over = (times[name] - times["copy"]) / calls * 1e6
        yield row(
            f"{name} of one page: overhead of a call",
            f"{over:.2f} us",
            "a slice copy in Python",
            None,
            "<= 1.5 us",
        )


def takes() -> Iterator[dict[str, object]]:
    """Taking pages that hold data: cost by pages dropped and by size of the area."""
    for mib in (64, 1024, 4096):
        pages = mib * 256
        clean, area = pool(pages)
        fs = clean.add_fs()
        filled = 16_384
        wanted = np.arange(filled)
        pfns = np.empty(filled, np.int64)
        times = []
        for _ in range(ROUNDS):
            key = clean._key(fs, 1, 0)
            store_many(clean.frames, clean.table, clean.inodes, clean.counts, key, wanted, True, pfns)
            low = int(pfns.min())
            begin = time.process_time()
            clean.get_folio(area.pool, low, 16_384)
            times.append(time.process_time() - begin)
            clean.put_folio(area.pool, low, 16_384)
        cost = statistics.median(times) / 16_384 * 1e9
        yield row(
            f"take 64 MiB of cached pages out of {mib} MiB",
            f"{cost:.0f} ns/page",
            "-",
            None,
            "O(pages dropped)",
        )


def replays(ids: np.ndarray) -> Iterator[dict[str, object]]:
    """10 M page-cache events with 10 k allocations."""
    rng = np.random.default_rng(3)
    events = np.zeros((len(ids), 5), np.int64)
    events[:, 0], events[:, 1], events[:, 3] = np.arange(len(ids)) * 1000, READ, ids
    held: set[int] = set()
    for at in np.sort(rng.choice(len(ids), 20_000, replace=False)).tolist():
        buffer = int(rng.integers(0, 24))
        if buffer in held:
            events[at, 1:] = FREE, buffer, 0, 0
            held.remove(buffer)
        else:
            events[at, 1:] = ALLOC, buffer, int(rng.integers(1, 4096)), 8
            held.add(buffer)
    blocks = [events[at : at + 65_536] for at in range(0, len(events), 65_536)]
    machine = Machine(65_536, 131_072)
    for kind in (Kind.GCMA, Kind.CMA):
        replay(blocks[:1], [kind], machine)
        begin = time.process_time()
        replay(blocks, [kind], machine)
        seconds = time.process_time() - begin
        yield row(
            f"gcma replay, 10 M events, 10 k requests, {kind.value}", f"{seconds:.1f} s", "-", None, "< 10 s"
        )
    study(blocks[:1])
    begin = time.process_time()
    study(blocks)
    yield row(
        "gcma size, 10 M events, all sizes", f"{time.process_time() - begin:.1f} s", "-", None, "< 10 s"
    )


def starts() -> Iterator[dict[str, object]]:
    """How long the command line takes to start, against Python itself."""

    def seconds(*arguments: str) -> float:
        begin = time.perf_counter()
        # Captured, because a wait with a deadline alone looks only now and then.
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False, timeout=60)
        return time.perf_counter() - begin

    with tempfile.TemporaryDirectory() as folder:
        blob = Path(folder) / "board.dtb"
        board = HERE.parent / "dts" / "boards" / "rpi-4-b.dts"
        subprocess.run(["dtc", "-q", "-O", "dtb", "-o", blob, board], check=True)
        commands = {
            "gcma --help": ("-m", "gcma", "--help"),
            "gcma check board.dtb": ("-m", "gcma", "check", str(blob)),
        }
        times: dict[str, list[float]] = {name: [] for name in ("python", *commands)}
        for _ in range(11):
            times["python"].append(seconds("-c", "pass"))
            for name, arguments in commands.items():
                times[name].append(seconds(*arguments))
    bare = statistics.median(times["python"])
    for name in commands:
        mine = statistics.median(times[name])
        yield row(
            name, f"{mine * 1000:.0f} ms", f"python -c pass {bare * 1000:.0f} ms", mine / bare, "<= 10x"
        )


def rows() -> Iterator[dict[str, object]]:
    """All rows of this script."""
    yield from searches()
    ids = zipf()
    yield from caches(ids)
    yield from copies()
    yield from takes()
    yield from replays(ids)
    yield from starts()


if __name__ == "__main__":
    for each in rows():
        print(*each.values(), sep="  ", flush=True)
