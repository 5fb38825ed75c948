"""What the host does for the guest: the course of a run, buffers, cleancache, checks.

The guest is never trusted. Every request is checked before anything is touched; a refusal
is a negative errno and one sentence, and leaves all as it was. :mod:`board.buffers`,
:mod:`board.filepages` and :mod:`board.inspection` answer for their subjects.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocator import AllocatorError, CmaAllocError, Model
from board.buffers import Buffers
from board.doorbell import Refusal, Reply, Request
from board.error import BoardError
from board.filepages import FilePages
from board.inspection import Inspection
from board.plan import Plan
from board.tally import Tally
from board.territory import Territory
from dts import Range
from guest import protocol
from guest.protocol import Op, Outcome


@dataclass(frozen=True, slots=True)
class Report:
    """What the guest said of a case, or of a directive, which may have results."""

    number: int
    outcome: Outcome
    bytes_verified: int
    message: str
    values: tuple[int, ...] = ()


class Services:
    """Answers requests.

    :ivar hello: the arguments of the guest's HELLO, once it has spoken
    :ivar next: what NEXT answers, a case or a directive with its arguments; None lets the guest wait
    :ivar running: the number of the case that the guest was last told to run
    :ivar report: what the guest reported of it, until it is fetched
    :ivar territory: what the guest may touch
    """

    def __init__(
        self,
        plan: Plan,
        model: Model,
        ram: NDArray[np.uint8],
        tally: Tally,
        screen: Callable[[], NDArray[np.uint8]],
    ) -> None:
        assert model.cleancache is not None  # a plan always has a guaranteed pool
        self.hello: tuple[int, ...] | None = None
        self.next: tuple[int, ...] | None = None
        self.running: int | None = None
        self.report: Report | None = None
        self._area = model.areas[plan.pool.path]
        self._cleancache = model.cleancache
        self._tally = tally
        self.buffers = Buffers(plan, model, tally)
        self.territory = Territory(
            ram=(Range(0, ram.size),),
            closed=tuple((item.range, item.what) for item in plan.machine.occupied if item.closed),
            pool=plan.place,
            buffer=self.buffers.at,
        )
        self.files = FilePages(model.cleancache, tally, self.territory, ram)
        self._handlers: dict[int, Callable[[Request], Reply | None]] = {
            Op.HELLO: self._hello,
            Op.NEXT: self._next,
            Op.REPORT: self._report,
            Op.STATS: self._stats,
            **self.buffers.handlers(),
            **self.files.handlers(),
            **Inspection(plan, model, self.territory, ram, screen).handlers(),
        }

    def handle(self, request: Request) -> Reply | None:
        """The answer to a request; None: not yet."""
        handler = self._handlers.get(request.operation)
        try:
            if handler is None:
                known = f"{min(self._handlers)} to {max(self._handlers)}"
                raise Refusal(f"operation {request.operation:#x}: expected {known}", -errno.ENOSYS)
            return handler(request)
        except Refusal as refusal:
            return Reply(refusal.status, text=str(refusal))
        except CmaAllocError as error:
            return Reply(-error.errno, text=str(error))
        except (AllocatorError, BoardError) as error:
            return Reply(-errno.EINVAL, text=str(error))

    def _hello(self, request: Request) -> Reply:
        if request.arguments[0] != protocol.VERSION:
            raise Refusal(f"protocol {request.arguments[0]}: expected {protocol.VERSION}", -errno.EPROTO)
        self.hello = request.arguments
        return Reply()

    def _next(self, request: Request) -> Reply | None:
        if self.next is None:
            return None
        words, self.next = self.next, None
        self.running = words[0]
        return Reply(values=words)

    def _report(self, request: Request) -> Reply:
        number, outcome, verified, _, *values = request.arguments
        if self.running is None or number != self.running:
            raise Refusal(f"case {number} does not run")
        if outcome not in tuple(Outcome):
            raise Refusal(f"case {number}: {outcome} is no outcome")
        self.running = None
        self.report = Report(number, Outcome(outcome), verified, request.text, tuple(values))
        return Reply()

    def _stats(self, request: Request) -> Reply:
        pool = next(pool for pool in self._cleancache.pools if pool.name == self._area.name)
        tally = self._tally
        return Reply(
            values=(
                self._area.count,
                self._area.available_count,
                pool.cached,
                tally.allocations,
                tally.allocation_failures,
                tally.dropped_pages,
            )
        )
