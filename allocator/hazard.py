"""The defects that are known or suspected in the posted code, each with the choice of a `Revision` that
repairs it.

So a counter-example is attributed by experiment: it shows the defect whose repair alone is missing when it
still fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from allocator.revision import SAFE, Revision

__all__ = ["HAZARDS", "Hazard", "hazards_of"]


@dataclass(frozen=True, slots=True)
class Hazard:
    """A defect.

    name      as in docs/semantics.md
    choice    the field of `Revision` that makes the difference
    summary   what goes wrong, in one sentence without a period
    """

    name: str
    choice: str
    summary: str

    def repaired(self, revision: Revision) -> Revision:
        """`revision` without this defect."""
        return replace(revision, **{self.choice: getattr(SAFE, self.choice)})

    def alone(self, revision: Revision) -> Revision:
        """The safe revision with this defect of `revision` and no other."""
        return replace(SAFE, **{self.choice: getattr(revision, self.choice)})


HAZARDS: Final[tuple[Hazard, ...]] = (
    Hazard("H1", "truncate", "truncation leaves the entries of pages that are not in memory"),
    Hazard("H2", "direct_write", "a direct write leaves the entry of a page that is not in memory"),
    Hazard(
        "H3", "inode_key", "a file is known by the address of its inode, which another file gets after it"
    ),
    Hazard(
        "H4", "large_folio", "stores and invalidations pass over large folios, so old entries outlive them"
    ),
    Hazard(
        "H5", "keeps_record", "reuse of the oldest page frees the inode record that the store goes on to use"
    ),
    Hazard("H6", "checks_walk", "readahead follows the error pointer of start_inode_walk"),
    Hazard("H7", "truncate_stores", "truncation stores the pages that it removes"),
    Hazard("H9", "restores_large", "readahead restores one page of a large folio and trusts all of it"),
    Hazard("R1", "heeds_failed_free", "cma_release marks pages free that guaranteed CMA refused to free"),
    Hazard("R2", "rolls_back", "a free that fails half-way keeps the references dropped"),
    Hazard(
        "R3",
        "checks_release",
        "a release is not compared with what was allocated: a second one takes new pages",
    ),
)
"""H8 is missing: it costs hits and breaks nothing."""


def hazards_of(revision: Revision) -> Iterator[Hazard]:
    """The defects that `revision` has."""
    return (each for each in HAZARDS if getattr(revision, each.choice) != getattr(SAFE, each.choice))
