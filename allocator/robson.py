"""Worst-case bounds for first fit: how far up can a buffer ever be placed?

Two bounds, both proven for every order of allocation and release. `confinement` is what proofs rest on;
`robson` is for comparison.

`robson` is the published one. J. M. Robson, "Worst case fragmentation of first fit and best fit storage
allocation strategies", The Computer Journal 20 (1977); in the form of D. E. Knuth, *The Art of Computer
Programming*, volume 1, section 2.5, exercise 43: with at most n units held at any time, in buffers of at
most m units, first fit never needs more than H_m n / ln 2 units, where H_m = 1 + 1/2 + ... + 1/m. It knows
neither counts nor alignment, so it says nothing about buffers that are aligned.

`confinement` uses the declared counts and alignments. When first fit puts a buffer of size s, alignment a,
at page p, each of the p/a aligned places below p was blocked by a held buffer. A held buffer of size t
blocks at most `blocked(s, a, t, ...)` places, and buffers that end at or below E block no place at or above
E, so that a group of them blocks at most ceil(E/a) places, however many they are. Ends E that satisfy these
inequalities for every kind hold forever, by induction over the placements: the first one that broke them
would have been made among buffers that keep them. `confinement` finds the smallest such ends, or, when that
takes too long, those that let every buffer block all it can at once.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["blocked", "confinement", "reached", "robson"]


WORK_MAX: Final = 1 << 19
"""Pairs of kinds that are looked at for the smallest ends: some seconds."""
ENDLESS: Final = 1 << 80


def robson(total: int, largest: int) -> int:
    """Units that first fit needs at most for `total` units held at any time, buffers of at most `largest`
    units.
    """
    # H_m from above: Euler's expansion, cut after a term that is too large.
    harmonic = math.log(largest) + 0.57721566490153287 + 1 / (2 * largest)
    return math.ceil(harmonic * total / math.log(2))


def blocked(size: int, align: int, other_size: int, other_align: int) -> int:
    """How many places for a buffer (`size`, `align`) one held buffer (`other_size`, `other_align`) blocks
    at most.
    """
    if other_align % align == 0:
        return (size - 1) // align + (other_size - 1) // align + 1
    return -(-(size + other_size - 1) // align)


def reached(kinds: list[tuple[int, int, int]], offset: int, ends: list[int], kind: int) -> int:
    """The highest end of a placement of `kind` while every held buffer of kind j ends at or below
    `ends[j]`.
    """
    _count, size, align = kinds[kind]
    lead = -offset % align  # places are counted from the first aligned one
    places = 0
    for end, other in sorted(zip(ends, range(len(kinds)), strict=True)):
        count = kinds[other][0] - (other == kind)
        places += count * blocked(size, align, kinds[other][1], kinds[other][2])
        places = min(places, max(0, -(-(end - lead) // align)))
    return lead + places * align + size


def confinement(kinds: list[tuple[int, int, int]], offset: int = 0) -> list[int]:
    """For each kind (count, units, alignment) an end that no buffer of it ever exceeds.

    `offset` is the absolute number of the area's first unit, as far as alignment needs it.
    """
    ends = [0] * len(kinds)
    for _ in range(WORK_MAX // len(kinds) ** 2):
        after = [max(end, reached(kinds, offset, ends, kind)) for kind, end in enumerate(ends)]
        if after == ends:
            return ends
        ends = after
    # Below the smallest ends no number holds; without ends all that counts is what buffers can block at most.
    return [reached(kinds, offset, [ENDLESS] * len(kinds), kind) for kind in range(len(kinds))]
