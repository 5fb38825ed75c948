"""The replay against a slow model of dictionaries, and the relations between allocators that must hold."""

import os
import random
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from allocator.costs import COSTS_2015, CmaEvents
from allocator.frames import CACHED, FIRST_FRAME, OWNER, index_of, state_of
from allocator.prove import Demand, Problem, decide
from allocator.replay import Kind, Lane, Machine, MachineError, replay
from allocator.replay_cache import DIRTY, WRITING
from allocator.revision import SAFE, V2
from allocator.runs import Runs
from allocator.trace import ALLOC, DROP, EVICT, FILL, FREE, READ, WRITE, rows
from allocator.trace_open import open_trace
from allocator.trace_write import write_calls
from allocator.workload import WORKLOADS, WorkloadError, generate

S = 1_000_000_000


def slow(events, area, memory, guaranteed):
    """Page cache, shadow list, cleancache and dirty pages as ordered dictionaries, newest last."""
    runs, cache, shadow, clean = Runs(area), OrderedDict(), OrderedDict(), OrderedDict()
    dirty, unmapped = OrderedDict(), set()
    names = ("hits", "restored", "disk", "failed", "evicted", "dropped", "writes", "written")
    held, count = {}, dict.fromkeys(names, 0)
    free = list(range(area))  # donated frames, the one to use next last: freed first, used first
    frames = {}

    def forget(key):
        clean.pop(key)
        free.insert(0, frames.pop(key))

    def put(key, workingset):
        if not workingset:
            if key in clean:
                forget(key)
            return
        if key in clean:
            clean.move_to_end(key)
            return
        if not free and clean:
            oldest = next(iter(clean))
            forget(oldest)
        if free:
            clean[key] = True
            frames[key] = free.pop()

    def write_back(key):
        count["written"] += dirty.pop(key, None) is not None

    def make_room():
        if len(cache) < memory:
            return
        old, used = cache.popitem(last=False)
        write_back(old)
        count["evicted"] += 1
        shadow.pop(old, None)
        shadow[old] = True
        if len(shadow) > memory:
            shadow.popitem(last=False)
        if guaranteed and old not in unmapped:
            put(old, used)
        elif old in clean:
            forget(old)
        unmapped.discard(old)

    for time, op, a, b, c in events:
        # At every full 5 s the flusher writes what is 30 s old.
        for key in [each for each, since in dirty.items() if since <= time // (5 * S) * 5 * S - 30 * S]:
            write_back(key)
        if op == READ:
            key = (a, b)
            if key in cache:
                cache[key] = True
                cache.move_to_end(key)
                count["hits"] += 1
                continue
            again = shadow.pop(key, None) is not None
            if guaranteed and key in clean:
                clean.move_to_end(key)
                count["restored"] += 1
            else:
                count["disk"] += 1
            make_room()
            cache[key] = again
        elif op == WRITE:
            key = (a, b)
            count["writes"] += 1
            if key not in cache:
                shadow.pop(key, None)
                make_room()
                cache[key] = False
                unmapped.add(key)
            dirty.setdefault(key, time)
            if c:
                write_back(key)
            while len(dirty) > memory / 10:
                write_back(next(iter(dirty)))
        elif op == DROP:
            for each in [k for k in cache if k[0] == a and b <= k[1] and (not c or k[1] < b + c)]:
                dirty.pop(each, None)
                unmapped.discard(each)
            for each in [k for k in cache if k[0] == a and b <= k[1] and (not c or k[1] < b + c)]:
                cache.pop(each)
            for each in [k for k in shadow if k[0] == a and b <= k[1] and (not c or k[1] < b + c)]:
                shadow.pop(each)
            # Frames are freed, and so used again, in the order of the walk: by index, or as they were stored.
            gone = [k for k in frames if k[0] == a and b <= k[1] and (not c or k[1] < b + c)]
            for each in sorted(gone) if c else gone:
                forget(each)
        elif op == ALLOC and a not in held:
            bit = runs.find(b, (1 << c) - 1)
            if bit < 0:
                count["failed"] += 1
                continue
            runs.mark(bit, b)
            held[a] = (bit, b)
            if guaranteed:
                for key in [k for k, frame in frames.items() if bit <= frame < bit + b]:
                    clean.pop(key)
                    frames.pop(key)
                    count["dropped"] += 1
                free[:] = [f for f in free if not bit <= f < bit + b]
        elif op == FREE and a in held:
            bit, pages = held.pop(a)
            runs.clear(bit, pages)
            if guaranteed:
                for frame in range(bit, bit + pages):
                    free.insert(0, frame)
    return count


def story(seed, length, area, files=3, indexes=60, writes=0.0):
    rng = random.Random(seed)
    events = []
    for time in range(0, length * S // 10, S // 10):
        kind = rng.random()
        if kind < writes:
            index = int(rng.random() ** 2 * indexes)
            events.append((time, WRITE, rng.randrange(files), index, int(rng.random() < 0.1)))
        elif kind < 0.86:
            events.append((time, READ, rng.randrange(files), int(rng.random() ** 2 * indexes), 0))
        elif kind < 0.88:
            events.append((time, DROP, rng.randrange(files), rng.randrange(indexes), rng.choice([0, 1, 5])))
        elif kind < 0.95:
            events.append((time, ALLOC, rng.randrange(6), rng.randint(1, area // 2), rng.randint(0, 3)))
        else:
            events.append((time, FREE, rng.randrange(6), 0, 0))
    return events


@pytest.mark.parametrize("kind", [Kind.GCMA, Kind.CARVEOUT])
@pytest.mark.parametrize("writes", [0, 0.02, 0.3])
@pytest.mark.parametrize("seed", range(6))
def test_every_count_is_that_of_a_slow_model(kind, seed, writes):
    area, memory = random.Random(seed).choice([(16, 20), (40, 12), (64, 64)])
    events = story(seed, 3000, area, writes=writes)
    blocks = [rows(events[at : at + 700]) for at in range(0, len(events), 700)]
    (summary,) = replay(blocks, [kind], Machine(area, memory))
    expected = slow(events, area, memory, kind is Kind.GCMA)
    assert {
        "hits": summary.page_cache_hits,
        "restored": summary.restored,
        "disk": summary.disk_reads,
        "failed": summary.failed,
        "evicted": summary.evicted,
        "dropped": summary.dropped,
        "writes": summary.writes,
        "written": summary.disk_writes,
    } == expected
    assert (summary.disk_writes > 0) == (writes > 0)
    assert summary.restored > 0 or kind is Kind.CARVEOUT


@pytest.mark.parametrize("seed", range(4))
def test_cma_without_pins_fails_no_request_that_guaranteed_cma_serves(seed):
    """Movable pages delay a request, only pinned ones can fail it."""
    events = rows(story(seed, 4000, 64))
    gcma, cma = replay([events], [Kind.GCMA, Kind.CMA], Machine(64, 128, anon_pages=60, seed=seed))
    assert cma.failed == gcma.failed
    assert cma.migrated > 0
    assert cma.retries == 0


def test_one_pinned_page_fails_cma_and_not_guaranteed_cma():
    """The whole area is wanted, one page of it is pinned."""
    events = rows([(0, READ, 0, 1, 0), (1, ALLOC, 0, 64, 0)])
    gcma, cma, carveout = replay(
        [events], [Kind.GCMA, Kind.CMA, Kind.CARVEOUT], Machine(64, 128, anon_pages=30, pinned_pages=1)
    )
    assert (gcma.failed, cma.failed, carveout.failed) == (0, 1, 0)
    assert cma.retries == 1


def test_conservation_of_pages_in_a_cma_area():
    """After everything is released and dropped, all but the anonymous pages can be had again."""
    lane = Lane(Kind.CMA, Machine(64, 128, anon_pages=50, seed=3))
    lane.apply(rows(story(9, 5000, 64)))
    lane.apply(rows([(0, FREE, k, 0, 0) for k in range(6)] + [(0, DROP, f, 0, 0) for f in range(3)]))
    lane.apply(rows([(0, ALLOC, 9, 64, 0)]))
    assert lane.summary().held_most == 64


def test_recorded_page_cache_traffic_drives_the_cleancache():
    events = rows(
        [(0, FILL, 0, 5, 0), (1, EVICT, 0, 5, 0), (2, FILL, 0, 5, 0), (3, DROP, 0, 0, 0), (4, FILL, 0, 5, 0)]
    )
    gcma, carveout = replay([events], [Kind.GCMA, Kind.CARVEOUT], Machine(16, 16))
    assert (gcma.reads, gcma.restored, gcma.disk_reads, gcma.stored) == (3, 1, 2, 1)
    assert (carveout.reads, carveout.restored, carveout.disk_reads) == (3, 0, 3)


def test_modelled_time_is_that_of_the_cost_table():
    machine = Machine(1024, 64)
    gcma, cma, carveout = replay(
        [rows([(0, ALLOC, 0, 512, 0)])], [Kind.GCMA, Kind.CMA, Kind.CARVEOUT], machine
    )
    costs = machine.costs
    assert gcma.max_ns == costs.guaranteed.request_ns + 512 * costs.guaranteed.page_ns
    assert cma.max_ns == costs.cma.request_ns + 512 * costs.cma.page_ns
    assert carveout.max_ns == costs.carveout.request_ns
    assert gcma.p50_ns == gcma.p99_ns == gcma.max_ns


def test_dropped_pages_cost_what_they_cost_in_the_table_of_2015():
    """One price of a dropped page, here and in `gcma latency`."""
    reads = [(0, READ, 0, index, 0) for index in range(1100)]
    stored = [(1, EVICT, 1, index, 0) for index in range(1024)]
    gcma, cma = replay(
        [rows([*reads, *stored, (2, ALLOC, 0, 512, 0)])], [Kind.GCMA, Kind.CMA], Machine(1024, 256)
    )
    assert gcma.dropped == 512
    assert cma.dropped > 100
    for summary, costs in ((gcma, COSTS_2015.guaranteed), (cma, COSTS_2015.cma)):
        assert summary.max_ns == costs.time_ns(CmaEvents(1, 512, summary.dropped))
        assert summary.max_ns > costs.time_ns(CmaEvents(1, 512))


def test_a_page_that_cma_dropped_is_a_refault_when_it_is_read_again():
    reads = [(0, READ, 0, index, 0) for index in range(128)]
    (cma,) = replay([rows([*reads, (1, ALLOC, 0, 64, 0), *reads])], [Kind.CMA], Machine(64, 64))
    assert cma.dropped == 64
    assert cma.refaults > 0


def test_what_moved_out_of_a_busy_range_stays_moved():
    """A pinned page in an area that is wanted whole: all other anonymous pages leave in vain, once."""
    machine = Machine(64, 1024, anon_pages=512, pinned_pages=1, seed=1)
    wanted = (0, ALLOC, 0, 64, 0)
    (first,), (twice,) = (
        replay([rows(events)], [Kind.CMA], machine) for events in ([wanted], [wanted, wanted])
    )
    assert first.failed == first.retries == 1
    assert first.migrated > 10
    assert (twice.failed, twice.migrated) == (2, first.migrated)


def cma_after(*events, memory=64, area=64, anon=0, seed=0):
    """What CMA did with the events and then a request for the whole area."""
    (summary,) = replay([rows(events)], [Kind.CMA], Machine(area, memory, anon, seed=seed))
    return summary


@pytest.mark.parametrize(
    ("request_ns", "waits", "migrated"),
    [(35 * S - 1, 0, 8), (35 * S, 1, 1), (36 * S - 1, 1, 1), (36 * S, 0, 0)],
    ids=["dirty", "under writeback", "still so", "clean"],
)
@pytest.mark.parametrize("written_ns", [1, 5 * S])
def test_what_dirty_pages_cost_cma(request_ns, waits, migrated, written_ns):
    """Memory is full of pages that are just read, pages of the area hold written ones. At 35 s the flusher
    finds them 30 s old, and the disk takes 1 s. Until then they are copied as they are.
    """
    costs = COSTS_2015.cma
    assert costs.write_ns == S
    read = [(0, READ, 0, index, 0) for index in range(64)]
    written = [(written_ns, WRITE, 1, index, 0) for index in range(8)]
    summary = cma_after(*read, *written, (request_ns, ALLOC, 0, 64, 0))
    assert summary.failed == 0
    assert (summary.written_back, summary.migrated, summary.dropped) == (waits, migrated, 8 - migrated)
    assert summary.max_ns == costs.time_ns(
        CmaEvents(1, 64, dropped=8 - migrated, migrated=migrated, written_back=waits)
    )


def test_a_dirty_page_that_was_moved_is_written_when_it_is_due():
    read = [(0, READ, 0, index, 0) for index in range(64)]
    written = [(1, WRITE, 1, index, 0) for index in range(8)]
    moved = (2, ALLOC, 0, 64, 0)
    assert cma_after(*read, *written, moved).disk_writes == 0
    assert cma_after(*read, *written, moved, (35 * S - 1, FREE, 9, 0, 0)).disk_writes == 0
    assert cma_after(*read, *written, moved, (35 * S, FREE, 9, 0, 0)).disk_writes == 8


def test_synced_pages_are_waited_for_once():
    read = [(0, READ, 0, index, 0) for index in range(64)]
    written = [(1, WRITE, 1, index, 1) for index in range(8)]
    summary = cma_after(*read, *written, (2, ALLOC, 0, 32, 0), (3, ALLOC, 1, 32, 0))
    assert (summary.written_back, summary.disk_writes) == (1, 8)


def test_one_in_ten_pages_may_be_dirty():
    machine = Machine(16, 100)
    written = [(0, WRITE, 0, index, 0) for index in range(40)]
    for count, on_disk in ((10, 0), (11, 1), (40, 30)):
        for summary in replay([rows(written[:count])], [Kind.GCMA, Kind.CARVEOUT], machine):
            assert (summary.writes, summary.disk_writes) == (count, on_disk)
    # Anonymous pages do not count as memory for files, pages of a CMA area that no device has do.
    (less,) = replay([rows(written)], [Kind.GCMA], Machine(16, 100, anon_pages=50))
    (more,) = replay([rows(written)], [Kind.CMA], machine)
    assert (less.disk_writes, more.disk_writes) == (35, 29)


def test_a_request_to_a_guaranteed_area_knows_no_dirt():
    """Whatever is written: the times are those of pages given and dropped."""
    events = rows(story(3, 4000, 64, writes=0.3))
    machine = Machine(64, 32)
    gcma, carveout = replay([events], [Kind.GCMA, Kind.CARVEOUT], machine)
    assert gcma.written_back == carveout.written_back == gcma.migrated == 0
    assert min(gcma.dropped, gcma.disk_writes) > 100
    assert carveout.max_ns == machine.costs.carveout.request_ns
    worst = CmaEvents(1, 32, dropped=32)
    assert gcma.max_ns <= machine.costs.guaranteed.time_ns(worst)


def test_a_page_only_written_is_never_stored():
    """A page that was read is, with what was written since; PG_mappedtodisk tells them apart."""

    def restored(*before):
        others = [(2, READ, 1, index, 0) for index in range(40)]
        story = [*before, *others, (3, READ, 0, 0, 0)]
        (summary,) = replay([rows(story)], [Kind.GCMA], Machine(64, 16))
        return summary.restored

    read, write = (0, READ, 0, 0, 0), (1, WRITE, 0, 0, 0)
    assert restored(read, read) == 1
    assert restored(read, read, write) == 1
    assert restored(write) == 0
    assert restored(write, read, write) == 0
    # What the cleancache held of it goes with it.
    away = [(1, READ, 1, index, 0) for index in range(40)]
    assert restored(read, read, *away, read) == 1
    assert restored(read, read, *away, write) == 0


def test_a_page_that_a_recording_tells_of_and_that_is_written():
    """It is in the simulated page cache from the write until the recording says that it left."""
    fill, write, evict, read = (
        (0, FILL, 0, 5, 0),
        (1, WRITE, 0, 5, 0),
        (2, EVICT, 0, 5, 0),
        (3, READ, 0, 5, 0),
    )
    (there,) = replay([rows([fill, write, read])], [Kind.GCMA], Machine(16, 16))
    assert (there.disk_reads, there.page_cache_hits, there.disk_writes) == (1, 1, 0)
    (gone,) = replay([rows([fill, write, evict, read])], [Kind.GCMA], Machine(16, 16))
    assert (gone.disk_reads, gone.page_cache_hits, gone.disk_writes, gone.stored) == (2, 0, 1, 0)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("seed", range(4))
def test_lists_and_flags_of_dirty_pages_agree(kind, seed):
    lane = Lane(kind, Machine(64, 80, anon_pages=30, pinned_pages=2, seed=seed))
    events = story(seed, 6000, 64, indexes=200, writes=0.4)
    most = [0, 0]
    for at in range(0, len(events), 50):
        lane.apply(rows(events[at : at + 50]))
        for flag, cache in ((DIRTY, lane._dirty), (WRITING, lane._writing)):
            flagged = {
                (int(lane._cache.frames[row, OWNER]), index_of(lane._cache.frames, row))
                for row in np.flatnonzero(lane._flags & flag).tolist()
                if state_of(lane._cache.frames, row) == CACHED
            }
            rows_ = [
                row for row in range(FIRST_FRAME, len(cache.frames)) if state_of(cache.frames, row) == CACHED
            ]
            listed = {(int(cache.frames[row, OWNER]), index_of(cache.frames, row)) for row in rows_}
            assert flagged == listed
            most[flag == WRITING] = max(most[flag == WRITING], len(listed))
    assert min(most) > 0 or kind is not Kind.CMA
    assert most[0] > 3


def test_plain_python_counts_the_same():
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from test_replay import *\n"
        "m = Machine(64, 80, anon_pages=30, pinned_pages=2)\n"
        "e = story(5, 2500, 64, indexes=200, writes=0.3)\n"
        "print(json.dumps([s.as_json() for s in replay([rows(e[:900]), rows(e[900:])], list(Kind), m)]))"
    )
    plain, native = (
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env=os.environ | {"GCMA_NO_NUMBA": flag},
            capture_output=True,
            check=True,
            timeout=300,
        ).stdout
        for flag in "10"
    )
    assert b'"written_back": ' in plain
    assert plain == native


def test_a_counter_example_of_prove_fails_in_the_replay(tmp_path):
    problem = Problem("/reserved-memory/pool", 0x400, 64, (Demand("s", 2, 8, 3), Demand("l", 2, 24, 3)))
    proof = decide(problem)
    write_calls(tmp_path / "fail.trace", problem, proof.counter_example)
    trace = open_trace(tmp_path / "fail.trace")
    gcma, carveout = replay(trace.blocks(), [Kind.GCMA, Kind.CARVEOUT], Machine(64, 64, base_pfn=0x400))
    assert (gcma.failed, carveout.failed) == (1, 1)
    trace = open_trace(tmp_path / "fail.trace")
    (enough,) = replay(trace.blocks(), [Kind.GCMA], Machine(proof.enough_pages, 64, base_pfn=0x400))
    assert enough.failed == 0


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_repeat_and_are_well_formed(name):
    first, second = (list(generate(name, seconds=12, seed=4)) for _ in range(2))
    assert [block.tolist() for block in first] == [block.tolist() for block in second]
    held = set()
    last = 0
    for block in first:
        for time, op, a, b, _c in block.tolist():
            assert time >= last
            last = time
            if op == ALLOC:
                assert a not in held
                assert b > 0
                held.add(a)
            elif op == FREE:
                held.remove(a)
    assert [b.tolist() for b in generate(name, seconds=12, seed=5)] != [b.tolist() for b in first]


def test_a_keyboard_interrupt_keeps_what_was_done():
    def blocks():
        yield rows([(0, READ, 0, 1, 0)])
        raise KeyboardInterrupt

    (summary,) = replay(blocks(), [Kind.GCMA], Machine(16, 16))
    assert summary.reads == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (0, 16),
            "an area of 0 pages and 16 pages of memory cannot be simulated: use 1 to 134217728 of each",
        ),
        ((16, 16, 9), "9 anonymous pages leave too little of 16 pages of memory: use at most half"),
        ((16, 16, 4, 5), "5 pinned pages are more than the 4 anonymous ones they are among"),
    ],
)
def test_machines_that_make_no_sense(arguments, message):
    with pytest.raises(MachineError) as caught:
        Machine(*arguments)
    assert str(caught.value) == message


def test_a_machine_too_large_for_this_computer(monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1 << 20, "SC_PAGE_SIZE": 4096}.get)
    with pytest.raises(MachineError) as caught:
        replay([], list(Kind), Machine(1 << 18, 1 << 24))
    assert str(caught.value) == (
        "an area of 1024 MiB beside 65536 MiB of memory takes 5655 MiB to simulate with 3 allocators, and "
        "this computer has 4096 MiB: use a smaller machine or fewer allocators"
    )


def test_workloads_that_make_no_sense():
    with pytest.raises(WorkloadError, match="workload 'x' is unknown: use one of camera"):
        generate("x")
    with pytest.raises(WorkloadError, match="workload 'camera' with seed -1: use 0 or more"):
        generate("camera", seed=-1)
    with pytest.raises(WorkloadError, match="over 0 seconds"):
        generate("camera", seconds=0)


def test_frames_that_v2_loses_fail_requests():
    """H5: reuse of the oldest frame may orphan one, which then nobody gets: any request over it fails."""
    events = rows(story(2, 2000, 40))
    (safe,), (v2,) = (replay([events], [Kind.GCMA], Machine(40, 12, revision=r)) for r in (SAFE, V2))
    assert v2.failed > safe.failed
