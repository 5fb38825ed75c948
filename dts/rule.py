"""What a rule is, and how a broken one is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from dts.assumptions import Arch, Assumptions, cma_alignment
from dts.consumer import Consumer
from dts.finding import Finding, Severity
from dts.range import Range
from dts.region import Region
from dts.tree import Node, Tree

MAX_FINDINGS = 1000
"""Most findings of one rule that are listed for one tree."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the kernel or of the binding.

    :ivar code: its stable name
    :ivar severity: of most of its findings; a finding may be milder
    :ivar title: what is wrong, in a few words
    :ivar kernel: the kernel function that decides; None for a rule of the binding or of the format alone
    :ivar facts: the numbers that ``docs/check.md`` gives to the kernel's rules behind it
    :ivar why: what happens, and why it matters
    :ivar wrong: a node that breaks it
    :ivar right: the same node, repaired
    """

    code: str
    severity: Severity
    title: str
    kernel: str | None
    facts: str
    why: str
    wrong: str
    right: str


@dataclass(slots=True)
class Case:
    """A tree under judgement: what the checks look at, and where they report.

    :ivar nodes: the node of each region, by path
    :ivar counts: findings by code, those that are not listed included
    :ivar grid: ``CMA_MIN_ALIGNMENT_BYTES``
    :ivar zone_dma_last: see :class:`~dts.verdict.Verdict`
    :ivar hopeless: regions that no RAM beyond the declared one could make fit
    """

    tree: Tree
    assumptions: Assumptions
    arch: Arch
    memory: tuple[Range, ...]
    regions: dict[str, Region]
    nodes: dict[str, Node]
    consumers: dict[str, Consumer]
    zone_dma_last: int | None
    overlaps: list[tuple[Region, Region]]
    grid: int = 0
    findings: list[Finding] = field(default_factory=list)
    hopeless: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grid = cma_alignment(self.assumptions, self.arch)

    @property
    def memory_certain(self) -> bool:
        """Whether the caller gave the RAM; what the tree declares, the firmware may replace."""
        return self.assumptions.memory is not None

    def report(
        self,
        rule: Rule,
        node: str,
        what: str,
        hint: str,
        *,
        prop: str | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Add a finding.

        :param what: what is expected and what is seen, without a full stop
        :param hint: what to do, likewise
        """
        count = self.counts[rule.code] = self.counts.get(rule.code, 0) + 1
        if count <= MAX_FINDINGS:
            self.findings.append(
                Finding(rule.code, severity or rule.severity, node, prop, what, hint, rule.kernel)
            )

    def every_finding(self) -> Iterator[Finding]:
        """The findings; of a rule with too many, a last one tells how many are not listed."""
        yield from self.findings
        for code, count in self.counts.items():
            if count > MAX_FINDINGS:
                last = next(finding for finding in reversed(self.findings) if finding.code == code)
                what = f"/: {count - MAX_FINDINGS} further findings of {code} are not listed"
                yield replace(last, node="/", prop=None, what=what, hint="repair those listed first")

    def live_regions(self) -> Iterator[tuple[Node, Region]]:
        """Regions that the kernel looks at: enabled, below a parent of the right format."""
        for path, region in self.regions.items():
            if region.available:
                yield self.nodes[path], region


Check = Callable[[Case], None]


def cells_text(value: int, cells: int) -> str:
    """A number as source text of so many cells: ``<0x0 0x400000>``."""
    parts = [value >> 32 * index & 0xFFFFFFFF for index in reversed(range(max(cells, 1)))]
    return "<" + " ".join(f"{part:#x}" for part in parts) + ">"


def plural(count: int, word: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
