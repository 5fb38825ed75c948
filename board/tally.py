"""What was done for guests, counted."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What was done for guests, over a whole run."""

    allocations: int = 0
    allocation_failures: int = 0
    dropped_pages: int = 0
    stale_reads: int = 0
    put: int = 0
    hit: int = 0
    miss: int = 0
