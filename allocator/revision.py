"""The published revisions of guaranteed CMA, and a safe one, as named choices.

One implementation serves all of them: it asks the `Revision` at each point where they differ.
docs/semantics.md gives the source of every choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from allocator.error import AllocatorError

__all__ = [
    "REVISIONS",
    "RFC",
    "SAFE",
    "V1",
    "V2",
    "V2_ON_7_3",
    "Admission",
    "Drop",
    "Hit",
    "InodeKey",
    "LargeFolio",
    "Revision",
    "WhenFull",
    "revision",
]


class Admission(Enum):
    """Which clean file pages the cleancache takes in."""

    WORKINGSET = "workingset"
    """Only pages that were in use again within the workingset distance."""
    ALL = "all"


class WhenFull(Enum):
    """What a store does when no frame is free."""

    FAIL = "fail"
    REUSE_OLDEST = "reuse-oldest"


class Hit(Enum):
    """What a hit leaves behind."""

    INCLUSIVE = "inclusive"
    """The entry stays, so that a clean page needs no second store."""
    EXCLUSIVE = "exclusive"
    """The entry goes, as in the cleancache of 2011."""


class Drop(Enum):
    """What the cleancache loses when content of a file ends or its inode leaves memory."""

    RESIDENT = "resident"
    """Only entries of pages that are in the page cache at that moment."""
    RANGE = "range"
    """The entries of all pages concerned."""
    INODE = "inode"
    """All entries of the inode."""


class LargeFolio(Enum):
    """What happens to the entries below a large folio that leaves the page cache."""

    IGNORED = "ignored"
    DROPPED = "dropped"


class InodeKey(Enum):
    """How the cleancache tells one file from another."""

    POINTER = "pointer"
    """By the address of the in-memory inode, which is used again."""
    NUMBER = "number"
    """By inode number and generation (the RFC's export file handle)."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One published revision, or the safe variant.

    name              what the command line calls it
    admission         which pages are stored
    when_full         what a store does without a free frame
    hit               whether an entry survives a hit
    truncate          what truncate, hole punching and unlink drop
    direct_write      what a direct write drops
    evict             what is dropped when an inode leaves memory
    large_folio       what large folios do to the entries below them
    inode_key         what identifies a file
    checks_release    whether a release must name one whole allocation (R3)
    heeds_failed_free whether a release fails when guaranteed CMA cannot free the pages (R1)
    rolls_back        whether a failed free restores the references it had already dropped (R2)
    restores_window   whether readahead asks the cleancache
    restores_large    whether readahead restores into large folios (H9)
    restores_mapped   whether a page that was restored can be stored again when it leaves the page cache (H8)
    truncate_stores   whether truncated pages pass the store hook as if they left by reclaim (H7)
    keeps_record      whether a store keeps the inode's record when reuse of the oldest frame empties it (H5)
    checks_walk       whether readahead recognises the error pointer of `start_inode_walk` (H6)
    counts_all_skips  whether `skipped` counts every store, successful ones too (v2's sysfs)
    first_highest     whether the pool's first store takes its highest page (else its lowest)
    """

    name: str
    admission: Admission = Admission.WORKINGSET
    when_full: WhenFull = WhenFull.REUSE_OLDEST
    hit: Hit = Hit.INCLUSIVE
    truncate: Drop = Drop.RESIDENT
    direct_write: Drop = Drop.RESIDENT
    evict: Drop = Drop.RESIDENT
    large_folio: LargeFolio = LargeFolio.IGNORED
    inode_key: InodeKey = InodeKey.POINTER
    checks_release: bool = False
    heeds_failed_free: bool = False
    rolls_back: bool = True
    restores_window: bool = True
    restores_large: bool = True
    restores_mapped: bool = False
    truncate_stores: bool = False
    keeps_record: bool = False
    checks_walk: bool = False
    counts_all_skips: bool = True
    first_highest: bool = True


RFC = Revision(
    "rfc",
    when_full=WhenFull.FAIL,
    truncate=Drop.INODE,
    direct_write=Drop.INODE,
    evict=Drop.INODE,
    inode_key=InodeKey.NUMBER,
    rolls_back=False,
    restores_window=False,
    keeps_record=True,
    checks_walk=True,
    counts_all_skips=False,
    first_highest=False,
)
"""20 March 2025."""

V1 = Revision("v1", rolls_back=False)
"""9 October 2025."""

V2 = Revision("v2")
"""26 October 2025."""

V2_ON_7_3 = replace(V2, name="v2-7.3", truncate_stores=True)
"""v2 moved to Linux 7.3 as it is, where `truncate_cleanup_folio` leaves PG_mappedtodisk set."""

SAFE = Revision(
    "safe",
    truncate=Drop.RANGE,
    direct_write=Drop.RANGE,
    large_folio=LargeFolio.DROPPED,
    inode_key=InodeKey.NUMBER,
    checks_release=True,
    heeds_failed_free=True,
    restores_large=False,
    restores_mapped=True,
    keeps_record=True,
    checks_walk=True,
    counts_all_skips=False,
)
"""v2 with the repairs that its counter-examples call for; what the rest of this project uses unless told
otherwise.
"""

REVISIONS: dict[str, Revision] = {each.name: each for each in (RFC, V1, V2, V2_ON_7_3, SAFE)}


def revision(name: str) -> Revision:
    """The revision of that name.

    Raises AllocatorError when there is none.
    """
    try:
        return REVISIONS[name]
    except KeyError:
        known = ", ".join(REVISIONS)
        raise AllocatorError(f"revision {name!r} is unknown: use one of {known}") from None
