"""One thing to say about a devicetree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How grave a finding is. Only an error makes a tree fail."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a node breaks, or a fact worth knowing about it.

    :ivar code: stable name of the rule, for filters and for ``gcma check --explain``
    :ivar node: path of the node
    :ivar prop: the property at fault, None for the node itself
    :ivar what: what is expected and what is seen, without a full stop
    :ivar hint: what to do, without a full stop
    :ivar kernel: the kernel function that decides, None when none does
    """

    code: str
    severity: Severity
    node: str
    prop: str | None
    what: str
    hint: str
    kernel: str | None

    @property
    def message(self) -> str:
        """The finding as one sentence."""
        return f"{self.what}; {self.hint}."
