"""The steps give the same state as machine code and as plain Python."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from allocator import PAGE_SIZE, RFC, SAFE, V2, Cleancache, CmaAllocError, GuaranteedArea, PhysicalMemory
from allocator.invariant import check_area, check_cleancache

PROGRAM = "from test_steps import digest; print(digest())"


def digest() -> str:
    """A hash of everything after a long random run through each revision."""
    result = hashlib.sha256()
    for revision in (RFC, V2, SAFE):
        rng = random.Random(revision.name)
        memory = PhysicalMemory(np.zeros(96 * PAGE_SIZE, np.uint8))
        cache = Cleancache(memory, revision)
        areas = [GuaranteedArea("a", 3, 40, cache), GuaranteedArea("b", 50, 30, cache)]
        fs = cache.add_fs()
        page = bytearray(PAGE_SIZE)
        for turn in range(1500):
            inode, index = rng.randrange(3), rng.choice((rng.randrange(40), rng.randrange(1 << 45)))
            match rng.randrange(8):
                case 0 | 1 | 2:
                    cache.put(fs, inode, index % 50, bytes([turn & 255]) * PAGE_SIZE, rng.random() < 0.8)
                case 3:
                    cache.put(fs, inode, index, bytes([turn & 255]) * PAGE_SIZE)
                case 4:
                    cache.get(fs, inode, index % 50, page)
                case 5:
                    cache.invalidate_folio(fs, inode, index % 50, rng.choice((1, 5, 1 << 40)))
                case 6:
                    area = rng.choice(areas)
                    for pfn, count in list(area.allocations.items())[:1]:
                        area.cma_release(pfn, count)
                case _:
                    try:
                        rng.choice(areas).cma_alloc(rng.randrange(1, 20), rng.randrange(4))
                    except CmaAllocError as error:
                        result.update(str(error).encode())
        for array in (cache.frames, cache.table, cache.inodes, cache.counts, memory.ram):
            result.update(array.tobytes())
        if revision is SAFE:
            check_cleancache(cache)
            for area in areas:
                check_area(area)
    return result.hexdigest()


def elsewhere(**extra: str) -> str:
    """The digest as another process finds it."""
    return subprocess.run(
        [sys.executable, "-c", f"import allocator.compiled as c; c.WARM_UP_SECONDS = 0; {PROGRAM}"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **extra},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout


def test_machine_code_and_python_agree() -> None:
    plain = elsewhere(GCMA_NO_NUMBA="1")
    assert len(plain.strip()) == 64
    assert elsewhere() == plain


@pytest.mark.nightly
def test_steps_stay_within_their_arrays() -> None:
    assert elsewhere(NUMBA_BOUNDSCHECK="1") == elsewhere()
