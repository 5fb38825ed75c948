"""Can any order of allocations and releases of a declared set of buffers fail in an area?

`decide` answers with a `Proof`: a certificate that every order succeeds, a counter-example, or the best
bounds known. The area is one behind `cma_alloc`: first fit, alignment of the absolute pfn. For a guaranteed
area (and a carve-out) nothing else can fail a request, so the proof is the whole story; in an ordinary CMA
area busy pages may fail one too.

Three means, in this order: a bound that holds by arithmetic (`allocator.robson`), an exact search of
everything that can happen (`allocator.prove_search`), and a search for a shortest failing sequence. `check`
in `allocator.prove_check` verifies certificates without any of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

from allocator.area import PAGES_MAX
from allocator.error import AllocatorError
from allocator.prove_search import Allocate, Goal, Operation, Search, search
from allocator.robson import confinement, robson
from allocator.runs import Runs

__all__ = ["Call", "Demand", "Method", "Outcome", "Problem", "ProblemError", "Proof", "decide", "play"]

SCHEMA: Final = "gcma.proof/1"
SEARCHABLE: Final = 64
"""Sets with more buffers have more configurations than any search sees; bounds decide about them."""
SHORTENABLE: Final = 400
MEMORY_BYTES: Final = 1 << 29
"""What a search may use."""
BUFFERS_MAX: Final = 100_000
"""Sets with more buffers are refused."""
KINDS_MAX: Final = 256
"""Sets with more kinds of buffers are refused."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Buffers of one kind.

    name    what reports call it
    count   how many are held at once, at most
    pages   size of each
    align   alignment order of the request, as `cma_alloc` takes it: 2^align pages
    limit   pages of the area that the device can reach, counted from its base; None for all
    """

    name: str
    count: int
    pages: int
    align: int
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An area and the buffers that its devices declare.

    area      path of the region, or a name
    base_pfn  first page
    pages     size
    """

    area: str
    base_pfn: int
    pages: int
    demands: tuple[Demand, ...]

    @property
    def total(self) -> int:
        """Pages held when every buffer is held."""
        return sum(demand.count * demand.pages for demand in self.demands)

    def room(self, demand: Demand) -> int:
        """The highest end, in pages from the base, at which a buffer of `demand` is of use."""
        return self.pages if demand.limit is None else min(self.pages, demand.limit)


class ProblemError(AllocatorError):
    """A set of buffers that cannot be decided about: empty, or with numbers that make no sense."""


class Outcome(Enum):
    """What was decided."""

    ALWAYS = "always"
    """Every order of allocations and releases succeeds."""
    CAN_FAIL = "can-fail"
    """Some order fails; a counter-example is given."""
    UNDECIDED = "undecided"
    """Not known within the budget."""


class Method(Enum):
    """What the answer rests on."""

    BOUND = "bound"
    EXHAUSTIVE = "exhaustive"
    COUNTER_EXAMPLE = "counter-example"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Call:
    """One operation: allocate buffer `number` of `demand`, or release it.

    pfn   where it lies; None when the allocation fails
    """

    release: bool
    demand: int
    number: int
    pfn: int | None


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer to a `Problem`.

    outcome          what was decided, by `method`
    enough_pages     in an area of this size every order succeeds; None when a device's reach may forbid that
    needed_pages     in no smaller area does it; equal to `enough_pages` when the smallest size is known
    robson_pages     what the published bound for first fit asks for, which knows no counts and no alignment
    visited          configurations that the searches looked at
    counter_example  calls that end in a failing allocation; empty unless CAN_FAIL
    shortest         whether it is known that no sequence with fewer calls fails
    certificate      what `allocator.prove_check.check` verifies; None unless ALWAYS
    """

    problem: Problem
    outcome: Outcome
    method: Method
    enough_pages: int | None
    needed_pages: int
    robson_pages: int
    visited: int
    counter_example: tuple[Call, ...] = ()
    shortest: bool = False
    certificate: dict[str, Any] | None = None


def decide(
    problem: Problem,
    *,
    seconds: float = 20.0,
    states_max: int = 2_000_000,
    progress: Callable[[int], None] | None = None,
) -> Proof:
    """Decide `problem` within about `seconds` of search.

    Raises ProblemError when there is nothing to decide, or far too much.
    `progress` is told now and then how many configurations were seen; memory is bounded by `states_max`.
    """
    _sane(problem)
    scale = _Scale.of(problem)

    blocks = sum(demand.count for demand in problem.demands)
    ends = confinement(scale.kinds, scale.offset)

    def look(goal: Goal) -> Search:
        # The search keeps places as 32-bit numbers; none lies above its end.
        if blocks > SEARCHABLE or max(ends) >= 1 << 31:
            return Search(False, [size for _count, size, _align in scale.kinds], None, 0)
        kinds = [(*kind, limit) for kind, limit in zip(scale.kinds, scale.limits, strict=True)]
        return search(
            kinds,
            goal,
            offset=scale.offset,
            seconds=seconds / 2,
            states_max=min(states_max, MEMORY_BYTES // (4 * blocks + 48)),
            progress=progress,
        )

    bounded = all(end <= limit for end, limit in zip(ends, scale.limits, strict=True))
    worst = look(Goal.FILLED)
    needed = max(problem.total, *scale.end_pages(problem, worst.highest))
    reached = worst.highest if worst.complete else ends
    enough: int | None = None
    if all(
        demand.limit is None or end <= demand.limit
        for demand, end in zip(problem.demands, scale.end_pages(problem, reached), strict=True)
    ):
        enough = max(scale.end_pages(problem, reached))
    published = robson(problem.total, max(demand.pages for demand in problem.demands))
    common: dict[str, Any] = {
        "problem": problem,
        "needed_pages": needed,
        "enough_pages": enough,
        "robson_pages": published,
    }
    if bounded:
        certificate = _certificate(problem, scale, Method.BOUND, "ends", ends)
        return Proof(
            **common,
            outcome=Outcome.ALWAYS,
            method=Method.BOUND,
            visited=worst.visited,
            certificate=certificate,
        )
    if worst.complete and worst.failure is None:
        certificate = _certificate(problem, scale, Method.EXHAUSTIVE, "configurations", worst.configurations)
        return Proof(
            **common,
            outcome=Outcome.ALWAYS,
            method=Method.EXHAUSTIVE,
            visited=worst.visited,
            certificate=certificate,
        )
    brief = look(Goal.SHORTEST)
    visited = worst.visited + brief.visited
    failure = brief.failure or worst.failure
    calls = _calls(failure) if failure else _all_at_once(problem)
    if calls is None:
        return Proof(**common, outcome=Outcome.UNDECIDED, method=Method.NONE, visited=visited)
    proven = brief.failure is not None and brief.complete
    if not proven:
        calls = _shorten(problem, calls)
    return Proof(
        **common,
        outcome=Outcome.CAN_FAIL,
        method=Method.COUNTER_EXAMPLE,
        visited=visited,
        counter_example=_played(problem, calls),
        shortest=proven,
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """A problem in larger units, page = lead + unit * u, with which no placement is lost or gained.

    Every start is a multiple of the smallest alignment, so that the tail of a buffer up to the next such
    multiple is of use to nobody: sizes are rounded up to it. What sizes, alignments and the area's place
    then have in common is the unit.
    """

    unit: int
    lead: int
    offset: int
    kinds: list[tuple[int, int, int]]
    limits: list[int]

    @classmethod
    def of(cls, problem: Problem) -> _Scale:
        smallest, largest = (f(1 << demand.align for demand in problem.demands) for f in (min, max))
        lead = -problem.base_pfn % smallest
        offset = (problem.base_pfn + lead) % largest
        sizes = [-(-demand.pages // smallest) * smallest for demand in problem.demands]
        unit = math.gcd(*sizes, offset) if offset else math.gcd(*sizes)
        for demand in problem.demands:
            if unit % (1 << demand.align):
                unit = math.gcd(unit, 1 << demand.align)
        return cls(
            unit,
            lead,
            offset // unit,
            [
                (demand.count, size // unit, max(1, (1 << demand.align) // unit))
                for demand, size in zip(problem.demands, sizes, strict=True)
            ],
            [
                (problem.room(demand) - demand.pages - lead) // unit + size // unit
                for demand, size in zip(problem.demands, sizes, strict=True)
            ],
        )

    def end_pages(self, problem: Problem, ends: Sequence[int]) -> list[int]:
        """Ends of placements as pages from the area's base."""
        return [
            self.lead + (end - size) * self.unit + demand.pages
            for demand, (_count, size, _align), end in zip(problem.demands, self.kinds, ends, strict=True)
        ]


def _sane(problem: Problem) -> None:
    if not problem.demands or not 0 < problem.pages <= PAGES_MAX:
        raise ProblemError(
            f"{problem.area}: nothing to decide about {len(problem.demands)} kinds of buffers in "
            f"{problem.pages} pages: declare buffers and an area of 1 to {PAGES_MAX} pages"
        )
    for demand in problem.demands:
        if demand.count < 1 or not 0 < demand.pages < 1 << 30 or not 0 <= demand.align <= 20:
            raise ProblemError(
                f"{problem.area}: {demand.count} buffers {demand.name!r} of {demand.pages} pages, alignment "
                f"order {demand.align}, make no sense: use counts and pages from 1 on and orders from 0 to 20"
            )
    if (buffers := sum(demand.count for demand in problem.demands)) > BUFFERS_MAX:
        raise ProblemError(
            f"{problem.area}: {buffers} buffers are too many to decide about: the most is {BUFFERS_MAX}"
        )
    if (kinds := len(problem.demands)) > KINDS_MAX:
        raise ProblemError(
            f"{problem.area}: {kinds} kinds of buffers are too many to decide about: the most is {KINDS_MAX}"
        )


def _certificate(problem: Problem, scale: _Scale, method: Method, name: str, evidence: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "problem": asdict(problem),
        "method": method.value,
        "unit_pages": scale.unit,
        "lead_pages": scale.lead,
        name: evidence,
    }


def play(problem: Problem, calls: Sequence[Call]) -> list[Call] | None:
    """Make `calls` on a real bitmap until an allocation fails; the calls with their pfns up to there, or
    None.

    None also when a call is impossible: a release of what is not held, or one buffer more than declared.
    """
    runs = Runs(problem.pages)
    held: dict[tuple[int, int], int] = {}
    count = [0] * len(problem.demands)
    made: list[Call] = []
    for call in calls:
        demand, key = problem.demands[call.demand], (call.demand, call.number)
        if call.release:
            if key not in held:
                return None
            bit = held.pop(key)
            count[call.demand] -= 1
            runs.clear(bit, demand.pages)
        else:
            if key in held or count[call.demand] == demand.count:
                return None
            mask = (1 << demand.align) - 1
            bit = runs.find(demand.pages, mask, problem.base_pfn & mask)
            if bit < 0 or bit + demand.pages > problem.room(demand):
                return [*made, Call(False, *key, None)]
            runs.mark(bit, demand.pages)
            held[key] = bit
            count[call.demand] += 1
        made.append(Call(call.release, *key, problem.base_pfn + bit))
    return None


def _played(problem: Problem, calls: list[Call]) -> tuple[Call, ...]:
    made = play(problem, calls)
    if made is None or len(made) != len(calls):
        raise AssertionError(f"the search and the bitmap disagree about {problem}")
    return tuple(made)


def _calls(operations: Sequence[Operation]) -> list[Call]:
    """Operations of the search, the buffers of each kind numbered as they are allocated."""
    where: dict[tuple[int, int], int] = {}
    numbers: Counter[int] = Counter()
    calls = []
    for operation in operations:
        if isinstance(operation, Allocate):
            number = numbers[operation.kind]
            numbers[operation.kind] += 1
            if operation.start is not None:
                where[operation.kind, operation.start] = number
            calls.append(Call(False, operation.kind, number, None))
        else:
            calls.append(Call(True, operation.kind, where.pop((operation.kind, operation.start)), None))
    return calls


def _all_at_once(problem: Problem) -> list[Call] | None:
    """Allocate everything, kind after kind, in both orders: fails at least when the total does not fit."""
    order = [(kind, number) for kind, demand in enumerate(problem.demands) for number in range(demand.count)]
    for calls in (order, order[::-1]):
        made = play(problem, [Call(False, kind, number, None) for kind, number in calls])
        if made is not None:
            return made
    return None


def _shorten(problem: Problem, calls: list[Call]) -> list[Call]:
    """Drop calls, a buffer or a release at a time, for as long as the rest still fails."""
    if len(calls) > SHORTENABLE:
        return calls
    at = 0
    while at < len(calls):
        gone = calls[at]
        rest = [
            call
            for k, call in enumerate(calls)
            if k != at
            and not (
                call.release and not gone.release and (call.demand, call.number) == (gone.demand, gone.number)
            )
        ]
        made = play(problem, rest)
        if made is None:
            at += 1
        else:
            calls, at = made, 0
    return calls
