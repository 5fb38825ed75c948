"""Every answer of `prove` against brute force, its certificates against the checker."""

import itertools
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from allocator.prove import Demand, Method, Outcome, Problem, ProblemError, decide, play
from allocator.prove_check import CertificateError, check
from allocator.robson import confinement, robson


@pytest.fixture(scope="session")
def brute(tmp_path_factory):
    """Brute force, brute.c: for each problem the calls to the first that can fail, None if none can."""
    if not shutil.which("gcc"):
        pytest.skip("no compiler for this machine: install gcc or run scripts/setup --dev")
    program = tmp_path_factory.mktemp("brute") / "brute"
    source = Path(__file__).with_name("brute.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)

    def solve(*problems):
        lines = []
        for problem in problems:
            words = [problem.pages, problem.base_pfn, len(problem.demands)]
            for demand in problem.demands:
                words += [demand.count, demand.pages, demand.align, problem.room(demand)]
            lines.append(" ".join(map(str, words)))
        run = subprocess.run(
            [program], input="\n".join(lines), capture_output=True, text=True, check=True, timeout=600
        )
        calls = [int(line) for line in run.stdout.split()]
        assert len(calls) == len(problems)
        return [None if each < 0 else each for each in calls]

    return solve


def agree(problem, expected):
    """Prove's whole answer is the brute-force one."""
    proof = decide(problem, seconds=60)
    if expected is None:
        assert proof.outcome is Outcome.ALWAYS, problem
        check(proof.certificate)
        assert proof.enough_pages is None or proof.enough_pages <= problem.pages
    else:
        assert proof.outcome is Outcome.CAN_FAIL, problem
        assert proof.shortest
        assert len(proof.counter_example) == expected
        assert play(problem, proof.counter_example) == list(proof.counter_example)
        assert proof.counter_example[-1].pfn is None
    return proof


def sets(pages, kinds_max):
    """All sets of up to `kinds_max` kinds that fit `pages` when all is held."""

    def grow(least, left, kinds):
        if kinds:
            yield tuple(kinds)
        if len(kinds) < kinds_max:
            for size in range(least, left + 1):
                for count in range(1, left // size + 1):
                    yield from grow(size + 1, left - size * count, [*kinds, (count, size)])

    return grow(1, pages, [])


def problem(pages, kinds, base=0):
    return Problem("pool", base, pages, tuple(Demand(f"k{i}", *kind) for i, kind in enumerate(kinds)))


def all_problems(pages, kinds_max, aligns=(0,)):
    """Every set of up to `kinds_max` sizes on an area of `pages`, under every choice of alignment orders."""
    return [
        problem(pages, [(*kind, align) for kind, align in zip(kinds, orders, strict=True)])
        for kinds in sets(pages, kinds_max)
        for orders in itertools.product(aligns, repeat=len(kinds))
    ]


def agree_on_all(problems, brute):
    for each, expected in zip(problems, brute(*problems), strict=True):
        agree(each, expected)


@pytest.mark.parametrize("pages", range(1, 11))
def test_every_small_set(pages, brute):
    agree_on_all(all_problems(pages, 4), brute)


@pytest.mark.parametrize("pages", range(2, 7))
def test_every_small_set_under_every_alignment(pages, brute):
    agree_on_all(all_problems(pages, 4, aligns=(0, 1, 2)), brute)


@pytest.mark.nightly
@pytest.mark.parametrize("pages", range(11, 17))
def test_every_set_of_up_to_four_kinds(pages, brute):
    agree_on_all(all_problems(pages, 4), brute)


@pytest.mark.nightly
@pytest.mark.parametrize("pages", range(7, 13))
def test_every_set_under_every_alignment(pages, brute):
    agree_on_all(all_problems(pages, 4, aligns=(0, 1, 2)), brute)


@pytest.mark.parametrize("seed", range(8))
def test_random_sets_with_alignment_reach_and_odd_bases(seed, brute):
    rng = random.Random(seed)
    problems = []
    for _ in range(12):
        pages = rng.randint(4, 16)
        kinds = []
        left = pages
        for _kind in range(rng.randint(1, 4)):
            if left < 1:
                break
            size = rng.randint(1, min(left, 6))
            count = rng.randint(1, min(3, left // size))
            left -= size * count
            reach = rng.choice([None, None, rng.randint(1, pages)])
            kinds.append((count, size, rng.choice([0, 0, 1, 2]), reach))
        problems.append(problem(pages, kinds, base=rng.randint(0, 9)))
    agree_on_all(problems, brute)


@pytest.mark.parametrize(
    "kinds", [[(2, 1, 0), (2, 3, 0)], [(3, 2, 0), (1, 5, 0)], [(2, 3, 1), (2, 4, 2), (2, 1, 0)]]
)
def test_the_smallest_size_is_the_smallest(kinds, brute):
    proof = decide(problem(6, kinds))
    assert proof.needed_pages == proof.enough_pages
    enough, less = brute(problem(proof.enough_pages, kinds), problem(proof.enough_pages - 1, kinds))
    assert enough is None
    assert less is not None


def test_fragmentation_fails_a_set_that_fits():
    """Two small and two large buffers: eight pages in all, yet eleven pages are not enough.

    |L L L|L L L|. .|   then release the first L, allocate S:
    |S . .|L L L|. .|   four pages are free, no three in a row
    """
    proof = decide(problem(8, [(2, 1, 0), (2, 3, 0)]))
    assert proof.outcome is Outcome.CAN_FAIL
    assert [(c.release, c.demand, c.pfn) for c in proof.counter_example] == [
        (False, 1, 0),
        (False, 1, 3),
        (True, 1, 0),
        (False, 0, 0),
        (False, 1, None),
    ]
    assert (proof.needed_pages, proof.enough_pages) == (12, 12)


def test_real_sizes_are_scaled_and_decided():
    """Camera-sized buffers in a 256 MiB pool: units make it small, the certificate holds in pages."""
    kinds = [(4, 4741, 8), (3, 2025, 8)]
    proof = decide(problem(65536, kinds, base=0x2C000), states_max=30_000)
    assert proof.outcome is Outcome.ALWAYS
    assert proof.method is Method.BOUND
    check(proof.certificate)
    smaller = decide(problem(proof.needed_pages - 1, kinds, base=0x2C000), seconds=20)
    assert smaller.outcome is Outcome.CAN_FAIL
    assert play(smaller.problem, smaller.counter_example)


def test_what_does_not_fit_at_once_fails_by_allocations_alone():
    proof = decide(problem(8, [(3, 3, 0)]))
    assert [call.release for call in proof.counter_example] == [False, False, False]


def test_undecided_gives_bounds():
    kinds = [(4, 1, 0), (4, 3, 0), (4, 5, 0), (4, 8, 0)]
    proof = decide(problem(100, kinds), states_max=3000)
    assert proof.outcome is Outcome.UNDECIDED
    assert proof.needed_pages <= 100 < proof.enough_pages
    assert proof.certificate is None


def test_a_reach_that_no_size_can_mend():
    """The kernel's search does not know of a device's reach: a buffer placed above it is lost."""
    proof = decide(Problem("pool", 0, 16, (Demand("low", 1, 2, 0, limit=4), Demand("any", 2, 3, 0))))
    assert proof.outcome is Outcome.CAN_FAIL
    assert proof.enough_pages is None


def exhaustive_certificate():
    proof = decide(problem(12, [(2, 1, 0), (2, 3, 0)]))
    assert proof.method is Method.EXHAUSTIVE
    return proof.certificate


def test_the_checker_refuses_damaged_certificates():
    check(exhaustive_certificate())
    for number in range(len(exhaustive_certificate()["configurations"])):
        damaged = exhaustive_certificate()
        del damaged["configurations"][number]
        with pytest.raises(CertificateError):
            check(damaged)
    smaller = exhaustive_certificate()
    smaller["problem"]["pages"] = 11
    with pytest.raises(CertificateError, match="lies outside its room"):
        check(smaller)
    bound = decide(problem(40, [(2, 1, 0), (2, 3, 0)])).certificate
    assert bound["method"] == "bound"
    for kind, delta in itertools.product((0, 1), (-1, -2)):
        damaged = {**bound, "ends": list(bound["ends"])}
        damaged["ends"][kind] += delta
        with pytest.raises(CertificateError, match="may end at"):
            check(damaged)
    with pytest.raises(CertificateError, match="lacks or garbles"):
        check({**bound, "problem": {}})
    with pytest.raises(CertificateError, match="holds neither"):
        check({k: v for k, v in bound.items() if k != "ends"})


def test_bounds_hold_and_are_below_the_published_one():
    rng = random.Random(5)
    for _ in range(25):
        kinds = [(rng.randint(1, 2), rng.randint(1, 5), 1 << rng.randint(0, 2)) for _ in range(3)]
        proof = decide(problem(64, [(c, s, a.bit_length() - 1) for c, s, a in kinds]))
        assert proof.needed_pages <= max(confinement(kinds))
        plain = [(c, s, 1) for c, s, _a in kinds]
        assert max(confinement(plain)) <= robson(sum(c * s for c, s, _ in plain), max(s for _, s, _ in plain))


def test_ends_that_take_too_long_are_replaced_by_larger_ones_that_hold(monkeypatch):
    """What is found without the time for the smallest ends is larger, and the checker accepts it."""
    kinds = [(2, 3, 0), (3, 8, 0), (4, 1, 0)]
    smallest = confinement([(count, size, 1) for count, size, _align in kinds])
    monkeypatch.setattr("allocator.robson.WORK_MAX", 2 * len(kinds) ** 2)
    proof = decide(problem(1000, kinds), seconds=0.1, states_max=100)
    assert proof.method is Method.BOUND
    ends = proof.certificate["ends"]
    assert all(larger >= end for larger, end in zip(ends, smallest, strict=True))
    assert ends != smallest
    check(proof.certificate)


def test_many_buffers_are_played_one_by_one():
    """More than any search sees; what fails is all of them at once."""
    proof = decide(problem(150_000, [(90_000, 2, 0), (2, 1, 0)]), seconds=1)
    assert proof.outcome is Outcome.CAN_FAIL
    assert len(proof.counter_example) == 75_001
    assert proof.needed_pages >= 180_002


def test_places_beyond_32_bits_are_left_to_the_bound():
    """The search keeps places as 32-bit numbers, which would wrap around."""
    proof = decide(problem(1 << 20, [(6, (1 << 29) + 1, 0), (1, 1, 0)]), seconds=1)
    assert (proof.outcome, proof.visited) == (Outcome.CAN_FAIL, 0)
    assert proof.needed_pages == 6 * ((1 << 29) + 1) + 1


@pytest.mark.parametrize(
    ("pages", "kinds", "message"),
    [
        (0, [(1, 1, 0)], "pool: nothing to decide about 1 kinds of buffers in 0 pages"),
        (1 << 27, [(1, 1, 0)], "declare buffers and an area of 1 to 67108864 pages"),
        (8, [], "pool: nothing to decide about 0 kinds of buffers in 8 pages"),
        (8, [(0, 1, 0)], "pool: 0 buffers 'k0' of 1 pages, alignment order 0, make no sense"),
        (8, [(1, 0, 0)], "1 buffers 'k0' of 0 pages, alignment order 0, make no sense"),
        (8, [(1, 1, 21)], "1 buffers 'k0' of 1 pages, alignment order 21, make no sense"),
        (8, [(1, 1, -1)], "alignment order -1, make no sense"),
        (8, [(100_001, 1, 0)], "pool: 100001 buffers are too many to decide about: the most is 100000"),
        (8, [(1, 1, 0)] * 257, "pool: 257 kinds of buffers are too many to decide about: the most is 256"),
    ],
)
def test_problems_that_make_no_sense(pages, kinds, message):
    with pytest.raises(ProblemError, match=re.escape(message)):
        decide(problem(pages, kinds))


def test_a_reach_within_the_area_binds_the_checker_too():
    held = Problem("pool", 0, 16, (Demand("low", 1, 2, 0, limit=16), Demand("any", 2, 3, 0)))
    certificate = decide(held).certificate
    check(certificate)
    certificate["problem"]["demands"][0]["limit"] = 4
    with pytest.raises(CertificateError, match="lies outside its room"):
        check(certificate)


@pytest.mark.parametrize("order", [21, 64, 1 << 40])
def test_the_checker_refuses_orders_that_it_would_have_to_cut(order):
    certificate = decide(problem(40, [(2, 1, 0), (2, 3, 0)])).certificate
    certificate["problem"]["demands"][0]["align"] = order
    with pytest.raises(CertificateError, match=f"alignment order {order}: expected 0 to 20"):
        check(certificate)


def test_the_checker_refuses_what_would_take_it_forever():
    certificate = decide(problem(40, [(2, 1, 0), (2, 3, 0)])).certificate
    small, large = certificate["problem"]["demands"]
    certificate["problem"]["demands"] = [small] * 8 + [{**large, "align": 20}] * 8
    certificate["ends"] *= 8
    with pytest.raises(CertificateError) as caught:
        check(certificate)
    assert str(caught.value) == (
        "the certificate takes 67109056 steps to check, the most is 16777216: its alignments differ too much"
    )
