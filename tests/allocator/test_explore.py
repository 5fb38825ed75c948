"""What the search finds in each revision, and that it catches mutants of the model."""

import ast

import pytest

from allocator import REVISIONS, SAFE, Cleancache, GuaranteedArea
from allocator import frames as layout
from allocator.explore import CounterExample, explore
from allocator.invariant import InvariantError
from allocator.pagecache import Filesystem, Inode, PageCache
from allocator.world import Parts

V2_DEFECTS = {"H1", "H2", "H3", "H5", "H6", "H9", "R1"}
RARE = {"H4", "R3"}
"""Take longer, see the nightly test."""


def replay(example: CounterExample) -> None:
    """Run the printed program, line by line: only the last may break, and as printed."""
    source = example.program()
    *before, last = source.splitlines()
    scope: dict[str, object] = {}
    exec("\n".join(before), scope)
    with pytest.raises(InvariantError) as caught:
        exec(last, scope)
    assert caught.value.invariant is example.invariant
    assert last.endswith(f"  # {caught.value.detail}")
    ast.parse(source)


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        ("rfc", 20_000, {"R1", "R2"}),
        ("v2", 100_000, V2_DEFECTS),
        pytest.param("v1", 250_000, V2_DEFECTS | {"R2"}, marks=pytest.mark.nightly),
        pytest.param("v2-7.3", 250_000, V2_DEFECTS | {"H7"}, marks=pytest.mark.nightly),
    ],
)
def test_published_revisions(name: str, steps: int, expected: set[str]) -> None:
    report = explore(REVISIONS[name], steps=steps, seed=3)
    names = [each.hazard.name if each.hazard else None for each in report.examples]
    assert len(names) == len(set(names))
    assert expected <= set(names) <= expected | RARE
    for example in report.examples:
        assert len(example.operations) <= 7
        replay(example)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [1, 5])
def test_v2_in_a_long_search(seed: int) -> None:
    report = explore(REVISIONS["v2"], steps=250_000, seed=seed)
    assert {each.hazard.name for each in report.examples if each.hazard} == V2_DEFECTS | RARE
    assert all(each.hazard and len(each.operations) <= 7 for each in report.examples)
    for example in report.examples:
        replay(example)


def test_safe_in_a_short_search() -> None:
    assert explore(SAFE, steps=20_000, seed=1).examples == ()


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
def test_safe_in_a_long_search(seed: int) -> None:
    report = explore(SAFE, steps=150_000, seed=seed)
    assert report.examples == ()
    assert report.steps >= 150_000


def test_a_search_by_steps_repeats() -> None:
    first, second = (explore(REVISIONS["v2"], steps=4000, seed=9) for _ in range(2))
    assert first.examples == second.examples
    assert (first.walks, first.steps) == (second.walks, second.steps)


class RecallLeavesLru(Cleancache):
    """Mutant 1: a page taken with data in it stays on the LRU list."""

    def get_folio(self, pool: int, pfn: int, count: int = 1) -> int:
        first, _ = self.rows_of(pool)
        start = int(self.counts[layout.POOL0 + layout.POOL_LONGS * pool + layout.POOL_PFN])
        rows = range(first + pfn - start, first + pfn - start + count)
        cached = [row for row in rows if layout.state_of(self.frames, row) == layout.CACHED]
        result = super().get_folio(pool, pfn, count)
        for row in cached:
            layout.insert(self.frames, row, layout.LRU)
        return result


class TruncateForgets(PageCache):
    """Mutant 2: truncation drops nothing from the cleancache."""

    def truncate(self, fs: Filesystem, inode: Inode, size: int) -> None:
        for folio in inode.each_folio():
            if folio.index >= size:
                self._remove(folio)
        inode.file.truncate(size)


class AlignmentOffByOne(GuaranteedArea):
    """Mutant 3: one order too little."""

    def cma_alloc(self, count: int, align: int = 0) -> int:
        return super().cma_alloc(count, align and align - 1)


class DoubleReleaseAccepted(GuaranteedArea):
    """Mutant 4: a release is not compared with what was allocated."""

    def cma_release(self, pfn: int, count: int) -> bool:
        self.allocations.setdefault(pfn, count)
        return super().cma_release(pfn, count)

    def _surrender(self, pfn: int, count: int) -> int:
        super()._surrender(pfn, count)
        return 0


@pytest.mark.parametrize(
    ("parts", "invariants"),
    [
        (Parts(cleancache=RecallLeavesLru), {"FRAMES"}),
        (Parts(page_cache=TruncateForgets), {"BYTES"}),
        (Parts(area=AlignmentOffByOne), {"PLACEMENT"}),
        (Parts(area=DoubleReleaseAccepted), {"COUNTERS", "PLACEMENT"}),
    ],
    ids=["recall leaves the LRU list", "truncate forgets", "alignment off by one", "double release accepted"],
)
def test_mutants_are_caught(parts: Parts, invariants: set[str]) -> None:
    report = explore(SAFE, steps=8000, seed=5, parts=parts)
    assert invariants & {example.invariant.name for example in report.examples}
    assert all(example.hazard is None for example in report.examples)
    assert min(len(example.operations) for example in report.examples) <= 6
