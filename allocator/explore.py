"""The search for a shortest sequence of operations that breaks an invariant.

Random walks through a `World`, each with its own random part of all operations (*swarm testing*: rare
combinations come up when the common ones are left out). A walk that breaks something is attributed to a
defect by experiment, see `allocator.hazard`, then shrunk: operations are left out as long as the same
invariant breaks, and at last all shorter sequences over the same operations are tried; some more walks see
whether others need fewer. The search goes on with that defect repaired, so that it cannot hide the next one.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from allocator.hazard import Hazard, hazards_of
from allocator.invariant import Invariant, InvariantError
from allocator.revision import Revision
from allocator.world import OPERATIONS, Parts, World

__all__ = ["CounterExample", "Operation", "Report", "explore"]

FRESH: Final = 24
"""Operations of a walk from the beginning."""
WALK: Final = 8
"""Operations by which a walk goes on from where another one led."""
LONGEST: Final = 24
"""Operations of the longest walk that is gone on from."""
SHARES: Final = (0.1, 0.2, 0.4)
"""How large a part of all operations a walk uses."""
SIZES: Final = (1, 2, 4)
"""Pages of the area."""
AGAIN: Final = 200
"""Walks by which a shorter sequence for the same defect is looked for."""
TRIES: Final = 20_000
"""Shorter sequences that are tried at most for one counter-example."""


_OTHER: Final[dict[object, object]] = {"a": "b", "b": "a"}


@dataclass(frozen=True, slots=True, order=True)
class Operation:
    """One call of a method of `World`."""

    name: str
    arguments: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(json.dumps(each) for each in self.arguments)})"

    @property
    def swapped(self) -> Operation:
        """The same on the other file."""
        return Operation(self.name, tuple(_OTHER.get(each, each) for each in self.arguments))


ALL: Final = tuple(Operation(name, each) for name, choices in OPERATIONS.items() for each in choices)


@dataclass(frozen=True, slots=True)
class CounterExample:
    """A sequence of operations whose last one breaks an invariant.

    revision     what was explored
    pages        pages of the world's area
    operations   the sequence
    invariant    what breaks
    detail       what was seen then
    hazard       the known defect it shows, None for one that is not known
    shortest     all shorter sequences over the same operations have been tried
    """

    revision: str
    pages: int
    operations: tuple[Operation, ...]
    invariant: Invariant
    detail: str
    hazard: Hazard | None
    shortest: bool

    def program(self) -> str:
        """The sequence as a Python program that ends in the error."""
        lines = [
            "from allocator.world import World",
            "",
            f'world = World("{self.revision}", pages={self.pages})',
        ]
        lines += [f"world.{each}" for each in self.operations]
        lines[-1] += f"  # {self.detail}"
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Report:
    """What a search found and how far it went; Ctrl-C ends it early and keeps what it found."""

    revision: str
    examples: tuple[CounterExample, ...]
    walks: int
    steps: int
    seconds: float
    seed: int
    interrupted: bool


def explore(
    revision: Revision,
    *,
    seconds: float = 20.0,
    steps: int | None = None,
    seed: int = 1,
    parts: Parts | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Search `revision` for broken invariants, for a time or, when `steps` is given, for that many
    operations.

    progress   called now and then with the steps done and the counter-examples found
    """
    rng = random.Random(seed)
    begin = time.monotonic()
    examples: list[CounterExample] = []
    unknown: list[frozenset[str]] = []
    repaired = revision
    corpus = _Corpus(rng)
    walks = done = 0
    interrupted = False
    try:
        while done < steps if steps is not None else time.monotonic() - begin < seconds:
            walks += 1
            pages, prefix = corpus.choose()
            world = World(repaired, pages, parts)
            walk, failure = _walk(world, prefix, _words(rng, unknown), rng, corpus)
            done += len(walk)
            if failure is not None:
                example = _attribute(revision, repaired, pages, walk, failure.invariant, parts, rng)
                examples.append(example)
                if example.hazard is not None:
                    repaired = example.hazard.repaired(repaired)
                else:
                    unknown.append(frozenset(each.name for each in example.operations))
            if progress is not None and walks % 64 == 0:
                progress(done, len(examples))
    except KeyboardInterrupt:
        interrupted = True
    examples.sort(key=lambda each: (each.hazard.name if each.hazard else "", len(each.operations)))
    return Report(revision.name, tuple(examples), walks, done, time.monotonic() - begin, seed, interrupted)


class _Corpus:
    """Walks that led to something new, to go on from."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._seen: set[tuple[object, ...]] = set()
        self._walks: list[tuple[int, tuple[Operation, ...]]] = [(pages, ()) for pages in SIZES]

    def choose(self) -> tuple[int, tuple[Operation, ...]]:
        """A size of world and a walk from which to go on."""
        if self._rng.random() < 0.5:
            return self._rng.choice(self._walks[: len(SIZES)])
        # What was new last is the rarest.
        return self._walks[-1 - int(len(self._walks) * self._rng.random() ** 3)]

    def add(self, world: World, walk: Sequence[Operation]) -> None:
        """Keep a walk if it leads to something new."""
        new = [each for each in world.features() if each not in self._seen]
        if new and len(walk) <= LONGEST:
            self._seen.update(new)
            self._walks.append((world.area.count, tuple(walk)))


def _walk(
    world: World, prefix: Sequence[Operation], words: Sequence[Operation], rng: random.Random, corpus: _Corpus
) -> tuple[list[Operation], InvariantError | None]:
    """`prefix`, then operations of `words` at random until one breaks something."""
    walk: list[Operation] = []
    try:
        for operation in prefix:
            walk.append(operation)
            _do(world, operation)
        for _ in range(WALK if prefix else FRESH):
            operation = rng.choice(words)
            walk.append(operation)
            if _do(world, operation):
                corpus.add(world, walk)
            else:
                walk.pop()
    except InvariantError as error:
        return walk, error
    return walk, None


def _do(world: World, operation: Operation) -> bool:
    act: Callable[..., bool] = getattr(world, operation.name)
    return act(*operation.arguments)


def _words(rng: random.Random, unknown: Iterable[frozenset[str]]) -> list[Operation]:
    """A random part of all operations, in which no set of `unknown` is whole."""
    share = rng.choice(SHARES)
    words = [each for each in ALL if rng.random() < share]
    for kinds in unknown:
        if kinds.issubset({each.name for each in words}):
            left_out = rng.choice(sorted(kinds))
            words = [each for each in words if each.name != left_out]
    return words or [rng.choice(ALL)]


class _Shrinker:
    """Looks for the shortest sequence in which the same invariant breaks, at the same operation in all of
    `revisions`.
    """

    def __init__(self, revisions: Sequence[Revision], parts: Parts | None, invariant: Invariant) -> None:
        self.revisions = revisions
        self.parts = parts
        self.invariant = invariant

    def failing(self, pages: int, operations: Sequence[Operation]) -> tuple[list[Operation], str] | None:
        """Those of `operations` that apply, up to the one that breaks the invariant, and what is seen;
        None without one.
        """
        result = None
        for revision in self.revisions:
            again = self._failing(revision, pages, operations)
            if again is None or (result is not None and again[0] != result[0]):
                return None
            result = again
        return result

    def _failing(
        self, revision: Revision, pages: int, operations: Sequence[Operation]
    ) -> tuple[list[Operation], str] | None:
        world = World(revision, pages, self.parts)
        done: list[Operation] = []
        for operation in operations:
            try:
                if _do(world, operation):
                    done.append(operation)
            except InvariantError as error:
                return ([*done, operation], error.detail) if error.invariant is self.invariant else None
        return None

    def shrink(self, pages: int, operations: list[Operation]) -> tuple[int, list[Operation]]:
        """Leave out and simplify while the invariant still breaks."""
        changed = True
        while changed:
            changed = False
            for fewer, candidate in self._candidates(pages, operations):
                result = self.failing(fewer, candidate)
                if result is not None:
                    pages, operations, changed = fewer, result[0], True
                    break
        return pages, operations

    def _candidates(self, pages: int, operations: list[Operation]) -> Iterator[tuple[int, list[Operation]]]:
        for at in reversed(range(len(operations))):
            yield pages, operations[:at] + operations[at + 1 :]
        for fewer in SIZES:
            if fewer < pages:
                yield fewer, operations
        swapped = [each.swapped for each in operations]
        if swapped < operations:
            yield pages, swapped
        for at, operation in enumerate(operations):
            if operation.name == "refault":
                yield pages, [*operations[:at], Operation("read", operation.arguments), *operations[at + 1 :]]
            for simpler in OPERATIONS[operation.name]:
                if simpler == operation.arguments:
                    break
                yield pages, [*operations[:at], Operation(operation.name, simpler), *operations[at + 1 :]]

    def best_of(self, count: int, rng: random.Random) -> tuple[int, list[Operation]] | None:
        """The shortest sequence among those that `count` walks give."""
        corpus = _Corpus(rng)
        best = None
        for _ in range(count):
            pages, prefix = corpus.choose()
            world = World(self.revisions[0], pages, self.parts)
            walk, failure = _walk(world, prefix, _words(rng, ()), rng, corpus)
            if failure is not None and self.failing(pages, walk) is not None:
                pages, walk = self.shrink(pages, walk)
                best = min((pages, walk), best or (pages, walk), key=_size)
        return best

    def shorter(self, pages: int, operations: list[Operation]) -> tuple[list[Operation], bool]:
        """Try every shorter sequence over the same operations, short ones first; the best one, and whether
        that was all.
        """
        words = sorted(set(operations))
        tries = 0
        for length in range(1, len(operations)):
            for candidate in itertools.product(words, repeat=length):
                tries += 1
                if tries > TRIES:
                    return operations, False
                result = self.failing(pages, candidate)
                if result is not None:
                    return result[0], True
        return operations, True


def _attribute(
    revision: Revision,
    repaired: Revision,
    pages: int,
    walk: list[Operation],
    invariant: Invariant,
    parts: Parts | None,
    rng: random.Random,
) -> CounterExample:
    """Which defect a walk through `repaired` shows, and the shortest sequence that shows it.

    The defect with which alone the sequence still fails; else one without which it does not fail.
    """
    search = _Shrinker([repaired], parts, invariant)
    pages, operations = search.shrink(pages, walk)
    hazard = None
    for each in hazards_of(repaired):
        alone = _Shrinker([each.alone(revision)], parts, invariant)
        if alone.failing(pages, operations) is not None:
            hazard, search = each, alone
            break
        if _Shrinker([each.repaired(repaired)], parts, invariant).failing(pages, operations) is None:
            hazard = each
    # What is printed must fail in the revision as published, too, and there at the same operation.
    published = _Shrinker([*search.revisions, revision], parts, invariant)
    for walks in (AGAIN, 10 * AGAIN) if hazard is not None else ():
        known = (pages, operations) if published.failing(pages, operations) is not None else None
        best = min(filter(None, (known, published.best_of(walks, rng))), key=_size, default=None)
        if best is not None:
            search, (pages, operations) = published, published.shrink(*best)
            break
    operations, shortest = search.shorter(pages, operations)
    result = search.failing(pages, operations)
    detail = result[1] if result else ""
    return CounterExample(revision.name, pages, tuple(operations), invariant, detail, hazard, shortest)


def _size(example: tuple[int, list[Operation]]) -> tuple[int, int, list[Operation]]:
    return len(example[1]), *example
