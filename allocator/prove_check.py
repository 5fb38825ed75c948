"""A small checker of certificates: it shares no code with the searches and bounds that made them.

A certificate says that in an area of so many pages every order of allocations and releases of the declared
buffers succeeds. Two kinds of evidence are checked, in the units that the certificate names:

`ends`            numbers E, one a kind, such that a buffer of kind k is never placed to end above E[k].
Checked by
                  counting, place by place, what the held buffers could block below the next possible
                  placement.
`configurations`  every way in which all buffers can be held. Checked by making each possible next step from
each of
                  them and finding the result in the list again.

The step that is checked is: release any buffers, allocate one, fill up. It is enough to release those that
lie where the new buffer goes, and one of its kind if all are held: see docs/prove.md for the argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from allocator.error import AllocatorError

__all__ = ["CertificateError", "check"]

NUMBER_MAX = 1 << 30
ALIGN_MAX = 20
STEPS_MAX = 1 << 24
"""Of a check of ends, which goes through one period of the alignments of each two kinds."""

Blocks = tuple[tuple[int, ...], ...]
"""Start of each held buffer, by kind, ascending."""


class CertificateError(AllocatorError):
    """A certificate does not prove what it claims."""


class _Claim:
    """What a certificate claims, in its units; every number in it is looked at here."""

    def __init__(self, certificate: dict[str, Any]) -> None:
        try:
            problem = certificate["problem"]
            self.unit = int(certificate["unit_pages"])
            self.lead = int(certificate["lead_pages"])
            self.base = int(problem["base_pfn"])
            self.pages = int(problem["pages"])
            self.demands = [
                (int(each["count"]), int(each["pages"]), 1 << _order(each["align"]), each["limit"])
                for each in problem["demands"]
            ]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CertificateError(f"the certificate lacks or garbles a part: {error!r}") from error
        numbers = [self.pages, *(number for demand in self.demands for number in demand[:2])]
        if not self.demands or not all(0 < number < NUMBER_MAX for number in numbers) or self.base < 0:
            raise CertificateError(f"the certificate speaks of numbers outside 1 to {NUMBER_MAX - 1}")
        smallest = min(align for _count, _pages, align, _limit in self.demands)
        if self.unit < 1 or (self.base + self.lead) % smallest or not 0 <= self.lead < smallest:
            raise CertificateError(
                f"lead {self.lead} and unit {self.unit} do not fit an area at pfn {self.base:#x}"
            )
        self.kinds: list[tuple[int, int, int]] = []
        self.limits: list[int] = []
        for count, pages, align, limit in self.demands:
            size = -(-pages // smallest) * smallest
            first = -(self.base + self.lead) % align
            if size % self.unit or (first % self.unit) or (align % self.unit and self.unit % align):
                raise CertificateError(f"unit {self.unit} does not divide {size} pages aligned to {align}")
            self.kinds.append((count, size // self.unit, max(1, align // self.unit)))
            room = self.pages if limit is None else min(self.pages, int(limit))
            self.limits.append((room - pages - self.lead) // self.unit + size // self.unit)

    def place(self, kind: int, at: int) -> int:
        """The lowest unit from `at` on where a buffer of `kind` may start."""
        align = self.demands[kind][2]
        first = -(self.base + self.lead) % align // self.unit
        spacing = max(1, align // self.unit)
        return at + (first - at) % spacing

    def places(self, kind: int, begin: int, end: int) -> int:
        """How many such units lie in [begin, end)."""
        return max(0, -(-(end - self.place(kind, begin)) // max(1, self.demands[kind][2] // self.unit)))


def _order(given: Any) -> int:
    order = int(given)
    if not 0 <= order <= ALIGN_MAX:
        raise CertificateError(
            f"the certificate speaks of alignment order {order}: expected 0 to {ALIGN_MAX}"
        )
    return order


def check(certificate: dict[str, Any]) -> None:
    """Verify `certificate`.

    Raises CertificateError when it does not prove its claim.
    """
    claim = _Claim(certificate)
    if "ends" in certificate:
        _check_ends(claim, [int(end) for end in certificate["ends"]])
    elif "configurations" in certificate:
        _check_configurations(claim, certificate["configurations"])
    else:
        raise CertificateError("the certificate holds neither ends nor configurations")


def _check_ends(claim: _Claim, ends: list[int]) -> None:
    """Each kind's end must lie in the area, and no placement among buffers that keep the ends may exceed
    it.
    """
    if len(ends) != len(claim.kinds):
        raise CertificateError(f"{len(claim.kinds)} kinds need as many ends, got {len(ends)}")
    aligns = [align for _count, _size, align in claim.kinds]
    steps = sum(max(kind, other) // other for kind in aligns for other in aligns)
    if steps > STEPS_MAX:
        raise CertificateError(
            f"the certificate takes {steps} steps to check, the most is {STEPS_MAX}: its alignments differ "
            "too much"
        )
    for kind, (_count, size, _align) in enumerate(claim.kinds):
        if ends[kind] > claim.limits[kind]:
            raise CertificateError(f"the end of kind {kind} lies outside its room")
        budget = []
        for other, (count, other_size, _other_align) in enumerate(claim.kinds):
            held = count - (other == kind)
            budget.append((ends[other], held * _most_blocked(claim, kind, other, size, other_size)))
        # Places below `end` blocked by kinds that stay below it: at most their budget, at most the places
        # there are.
        capacity = 0
        for end, more in sorted(budget):
            capacity = min(capacity + more, claim.places(kind, 0, end))
        start = claim.place(kind, 0) + capacity * max(1, claim.demands[kind][2] // claim.unit)
        if start + size > ends[kind]:
            raise CertificateError(
                f"a buffer of kind {kind} may end at unit {start + size}, above {ends[kind]}"
            )


def _most_blocked(claim: _Claim, kind: int, other: int, size: int, other_size: int) -> int:
    """The most places of `kind` that one buffer of `other` overlaps, over one period of their alignments."""
    period = max(claim.kinds[kind][2], claim.kinds[other][2])
    most, at = 0, claim.place(other, size + period)
    while at < size + 2 * period:
        most = max(most, claim.places(kind, at - size + 1, at + other_size))
        at = claim.place(other, at + 1)
    return most


def _check_configurations(claim: _Claim, rows: list[list[int]]) -> None:
    bounds = [sum(kind[0] for kind in claim.kinds[:k]) for k in range(len(claim.kinds) + 1)]
    known: set[Blocks] = set()
    for row in rows:
        if len(row) != bounds[-1]:
            raise CertificateError(f"a configuration of {len(row)} buffers, expected {bounds[-1]}")
        known.add(tuple(tuple(sorted(row[a:b])) for a, b in pairwise(bounds)))
    if _filled(claim, tuple(() for _ in claim.kinds)) not in known:
        raise CertificateError("the configuration reached by allocating everything at first is missing")
    for blocks in known:
        for kind, starts in enumerate(blocks):
            if any(start + claim.kinds[kind][1] > claim.limits[kind] for start in starts):
                raise CertificateError(f"a buffer of kind {kind} lies outside its room")
        for after in _steps(claim, blocks):
            if after not in known:
                raise CertificateError(f"a configuration that can follow another one is missing: {after}")


def _steps(claim: _Claim, blocks: Blocks) -> Iterator[Blocks]:
    """What can follow the full configuration `blocks`."""
    for kind, (_count, size, _align) in enumerate(claim.kinds):
        # First fit puts a buffer at the first place of all, or at the first one behind a buffer that stays.
        behind = (s + claim.kinds[k][1] for k, starts in enumerate(blocks) for s in starts)
        for place in {claim.place(kind, at) for at in (0, *behind)}:
            stay = tuple(
                tuple(s for s in starts if s + claim.kinds[k][1] <= place or s >= place + size)
                for k, starts in enumerate(blocks)
            )
            without = [stay]
            if stay[kind] == blocks[kind]:
                without = [
                    (*stay[:kind], tuple(s for s in stay[kind] if s != one), *stay[kind + 1 :])
                    for one in stay[kind]
                ]
            for left in without:
                if _lowest(claim, left, kind) == place:
                    yield _filled(
                        claim, (*left[:kind], tuple(sorted((*left[kind], place))), *left[kind + 1 :])
                    )


def _lowest(claim: _Claim, blocks: Blocks, kind: int) -> int:
    """First fit: go on behind whatever is in the way."""
    held = [(s, s + claim.kinds[k][1]) for k, starts in enumerate(blocks) for s in starts]
    size, at = claim.kinds[kind][1], claim.place(kind, 0)
    while ends := [end for start, end in held if start < at + size and end > at]:
        at = claim.place(kind, min(ends))
    return at


def _filled(claim: _Claim, blocks: Blocks) -> Blocks:
    for kind, (count, _size, _align) in enumerate(claim.kinds):
        while len(blocks[kind]) < count:
            place = _lowest(claim, blocks, kind)
            blocks = (*blocks[:kind], tuple(sorted((*blocks[kind], place))), *blocks[kind + 1 :])
    return blocks
