"""The search answers exactly as a search over a plain list of booleans, in Python and compiled."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import runs
from allocator.compiled import Step
from allocator.runs import SMALL, Runs

FORMS = ["plain", "native"]


def reference(taken, want, mask, offset, start):
    """`bitmap_find_next_zero_area_off`, told with a list and no cleverness."""
    for i in range(start, len(taken) - want + 1):
        if (i + offset) & mask == 0 and not any(taken[i : i + want]):
            return i
    return -1


def form(step: Step, name: str):
    return getattr(step, name)


def area(taken, form_name):
    """Runs with the given pages taken, each extent marked by one call."""
    state = Runs(len(taken))
    at = 0
    while at < len(taken):
        stop = at
        while stop < len(taken) and taken[stop] == taken[at]:
            stop += 1
        if taken[at]:
            form(runs.mark, form_name)(state.words, state.tree, state.count, at, stop - at)
        at = stop
    return state


extents = st.lists(st.tuples(st.booleans(), st.integers(1, 150)), min_size=1, max_size=12)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("small", [0, SMALL])
@settings(deadline=None, max_examples=150)
@given(extents=extents, data=st.data())
def test_find_is_the_kernels_search(name, small, extents, data):
    taken = [flag for flag, length in extents for _ in range(length)]
    align = data.draw(st.integers(0, 7))
    want = data.draw(st.integers(1, len(taken) + 3))
    offset = data.draw(st.integers(0, (1 << align) - 1))
    start = data.draw(st.integers(0, len(taken)))
    mask = (1 << align) - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "SMALL", small)
        state = area(taken, name)
    assert bool(len(state.tree)) == (small == 0)
    found = form(runs.find, name)(state.words, state.tree, state.count, want, mask, offset, start)
    assert found == reference(taken, want, mask, offset, start)
    longest = max((len(run) for run in "".join("01"[t] for t in taken).split("1")), default=0)
    assert form(runs.longest, name)(state.words, state.tree, state.count) == longest
    assert state.taken() == sum(taken)


@pytest.mark.parametrize("name", FORMS)
@settings(deadline=None, max_examples=100)
@given(extents=extents, data=st.data())
def test_first_set_and_first_clear(name, extents, data):
    taken = [flag for flag, length in extents for _ in range(length)]
    stop = data.draw(st.integers(0, len(taken)))
    start = data.draw(st.integers(0, len(taken)))
    words = area(taken, name).words
    expect = {flag: next((i for i in range(start, stop) if taken[i] is flag), stop) for flag in (True, False)}
    assert form(runs.first_set, name)(words, start, stop) == expect[True]
    assert form(runs.first_clear, name)(words, start, stop) == expect[False]


@pytest.mark.parametrize("count", [1, 64, 65, SMALL * 64 + 1, 70_001, 3 * 64 * SMALL])
@pytest.mark.parametrize("name", FORMS)
def test_a_long_life_of_marks_and_clears(count, name):
    """The tree stays equal to one built anew, and searches agree with a byte search."""
    rng = random.Random(count)
    state = Runs(count)
    shadow = bytearray(count)
    held = []
    for step in range(120 if name == "plain" else 1500):
        if held and rng.random() < 0.45:
            start, n = held.pop(rng.randrange(len(held)))
            form(runs.clear, name)(state.words, state.tree, count, start, n)
            shadow[start : start + n] = bytes(n)
        else:
            n = min(count, rng.choice([1, 2, 63, 64, 65, 200, rng.randint(1, max(1, count // 8))]))
            align = rng.choice([0, 0, 3, 8])
            mask = (1 << align) - 1
            offset = rng.randint(0, mask)
            got = form(runs.find, name)(state.words, state.tree, count, n, mask, offset, 0)
            assert got == byte_search(shadow, n, mask, offset)
            if got < 0:
                continue
            form(runs.mark, name)(state.words, state.tree, count, got, n)
            shadow[got : got + n] = b"\1" * n
            held.append((got, n))
        if step % 50 == 0:
            fresh = area(list(shadow), name)
            assert np.array_equal(state.words, fresh.words)
            assert np.array_equal(state.tree, fresh.tree)


def byte_search(shadow, want, mask, offset):
    """First fit by `bytes.find`: independent of words and trees, fast enough for 70,000 pages."""
    hole, at = bytes(want), 0
    while True:
        at = shadow.find(hole, at)
        if at < 0 or (at + offset) & mask == 0:
            return at
        at += 1


def test_a_new_area_is_free_and_its_tree_is_that_of_its_bitmap():
    for count in (SMALL * 64 + 1, 100_000, 1 << 17):
        state = Runs(count)
        assert state.longest() == count
        assert state.taken() == 0
        tree = state.tree.copy()
        runs._renew(state.words, state.tree, 0, len(state.words) * 64)
        assert np.array_equal(tree, state.tree)


PROGRAM = """
import random
from allocator.runs import Runs
rng, state, held, log = random.Random(7), Runs(40_000), [], []
for _ in range({steps}):
    if held and rng.random() < 0.4:
        state.clear(*held.pop(rng.randrange(len(held))))
    n = rng.randint(1, 900)
    at = state.find(n, 255, 3)
    log.append(at)
    if at >= 0:
        state.mark(at, n)
        held.append((at, n))
print(hash(tuple(log)), len(held))
"""


def test_same_answers_without_numba_and_with_bounds_checks():
    """Also shows the whole life of a step: plain first, then compiled, in one process."""
    outputs = set()
    for setting in ({"GCMA_NO_NUMBA": "1"}, {"NUMBA_BOUNDSCHECK": "1"}, {}):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(steps=2500)],
            env={**setting_base(), **setting},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


def setting_base():
    return {k: v for k, v in os.environ.items() if not k.startswith(("GCMA_", "NUMBA_BOUNDS"))}
