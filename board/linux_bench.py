"""Linux's own CMA under load: real ``cma_alloc`` calls in the guest, and the model beside them.

The guest runs with ``-icount``: its clock counts instructions, 2 ns each, so the figures
are a cost model and not a board's latency, and every run gives the same. See ``docs/linux.md``.
"""

import errno
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator import CmaAllocError, PhysicalMemory, from_tree
from allocator.cma import CmaArea, Tenant
from board.console import TAIL_BYTES
from board.error import EvidenceError
from board.initramfs import Entry, archive
from board.kernel import DEFAULT, HEADERS, choose_kernel
from board.linux import OFF, LinuxBoard, LinuxPlan, plan_linux
from board.package import fetch
from dts import Range, Tree, flatten, read_blob
from guest.linux_build import bench_module, bench_program, init_program

TICK_NS: Final = 16
"""The guest's counter runs at 62.5 MHz."""
SIZES: Final = (16, 256, 4096, 16384)
"""Pages of a request: 64 KiB to 64 MiB."""
HELD: Final = 3
"""So many buffers are held at once."""
CMA_ALIGNMENT: Final = 8
"""CONFIG_CMA_ALIGNMENT: no request is aligned to more than this order."""
POOL: Final = "/reserved-memory/gcma"
FIRST_BANK_BYTES: Final = 0x3C00_0000
SETTLE_MS: Final = 10_000
"""Guest time, which passes at once while nothing runs; late in its boot Linux tests its ciphers."""
RUN_SECONDS: Final = 240.0


class BenchError(EvidenceError):
    """The bench in the guest failed; the message has its words."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What else is in memory while devices ask for buffers.

    :ivar before: steps of the guest's script (guest/linux/bench.c) before the first request
    :ivar each: steps before every request
    """

    name: str
    title: str
    before: tuple[str, ...] = ()
    each: tuple[str, ...] = ()


SCENARIOS: Final = (
    Scenario("idle", "nothing else"),
    Scenario("cache", "560 MiB of page cache", ("file 560",)),
    Scenario("anon", "anonymous memory all over", ("map 0 420",), ("unmap 1", "map 1 260")),
    Scenario(
        "pinned", "the same, 32 pages of it pinned", ("map 0 420",), ("unmap 1", "map 1 260", "pin 1 32")
    ),
    Scenario(
        "small",
        "the same in folios of one page",
        ("thp never", "map 0 420"),
        ("unmap 1", "map 1 260", "pin 1 32"),
    ),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A call of ``cma_alloc``, or of ``cma_release`` when ``pages`` is 0."""

    slot: int
    pages: int = 0
    order: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """What Linux answered.

    :ivar pfn: None when it failed
    :ivar model_pfn: what the model answers in the same state, the same pages pinned; None when it fails
    :ivar skipped: free places that Linux passed over before this one
    """

    request: Request
    pfn: int | None
    latency_ns: int
    model_pfn: int | None
    skipped: int

    @property
    def agrees(self) -> bool:
        """Whether both answered the same."""
        return self.pfn == self.model_pfn


def requests(count: int, seed: int = 1) -> list[Request]:
    """Requests of mixed sizes, with releases in between."""
    choice = random.Random(seed)
    out: list[Request] = []
    live: list[int] = []
    for slot in range(count):
        if len(live) == HELD:
            out.append(Request(live.pop(choice.randrange(HELD))))
        pages = SIZES[slot % len(SIZES)]
        out.append(Request(slot, pages, min(pages.bit_length() - 1, CMA_ALIGNMENT)))
        live.append(slot)
    return out


def script(scenario: Scenario, sequence: list[Request], *, trace: bool = False) -> str:
    """The guest's script."""
    lines = ["trace 1" * trace, f"sleep {SETTLE_MS}", *scenario.before]
    lines.append("show /sys/kernel/mm/cma/gcma/available_pages")
    for request in sequence:
        if request.pages:
            lines += scenario.each
            lines.append(f"alloc {request.slot} {request.pages} {request.order}")
        else:
            lines.append(f"free {request.slot}")
    lines += ["trace 0", "show /sys/kernel/tracing/trace"] * trace
    return "\n".join(line for line in lines if line) + "\n"


def plan_bench(tree: Tree) -> LinuxPlan:
    """The tree with a client for the bench, and with the memory of the first bank only, which fills quickly.

    :raise BenchError: the tree has no area named gcma
    """
    copy = read_blob(flatten(tree), tree.name)
    pool = copy.find(POOL)
    if pool is None or pool.phandle is None:
        raise BenchError(f"{tree.name}: expected a node {POOL} that devices point to; found none")
    for node in copy.root.children:
        if node.base_name == "memory":
            node.properties["reg"] = bytes(4 * copy.root.address_cells) + FIRST_BANK_BYTES.to_bytes(
                4 * copy.root.size_cells, "big"
            )
    client = copy.root.add("cma-bench")
    client.properties["compatible"] = b"gcma,cma-bench\0"
    client.properties["memory-region"] = pool.phandle.to_bytes(4, "big")
    return plan_linux(copy, choose_kernel(DEFAULT), "gcma=bench maxcpus=1")


def run(plan: LinuxPlan, text: str, more: Sequence[Entry] = ()) -> str:
    """Run a script in the guest; what it printed.

    :param more: files that the script needs
    :raise BenchError: a step failed
    """
    entries = [
        *(Entry.folder(name) for name in ("dev", "proc", "sys", "tmp")),
        Entry.character_device("dev/console", 5, 1),
        Entry.program("init", init_program()),
        Entry.program("bench", bench_program()),
        Entry.program("cma_bench.ko", bench_module(*(fetch(package) for package in HEADERS))),
        Entry.program("script", text.encode()),
        *more,
    ]
    with LinuxBoard(plan, archive(entries), repeatable=True) as board:
        board.run(lambda: False, RUN_SECONDS)
        log = board.log
    for line in log.splitlines():
        if line.startswith("@@ failed"):
            raise BenchError(
                f"{plan.name}: the bench in the guest: {line.removeprefix('@@ ')}", serial=log[-TAIL_BYTES:]
            )
    return log.partition(OFF.decode().strip())[0]


def read_calls(log: str, sequence: list[Request], place: Range) -> list[Call]:
    """Linux's answers, with the model's to the same requests.

    The model knows which pages are pinned and answers by itself. Then it is made to take the
    place that Linux took, if that lies on its way, so one difference does not bring on the next.

    :raise BenchError: the log does not have the answers, or Linux took a place that first fit never comes to
    """
    asked = {request.slot: request for request in sequence if request.pages}
    freed = [request.slot for request in sequence if not request.pages]
    _, _, tail = log.partition("available_pages\n")
    area = Witnessed("gcma", place.base >> 12, place.size >> 12)
    area.take_at_boot(area.count - int(tail.split()[0]))
    held: dict[int, tuple[int, int]] = {}
    out: list[Call] = []
    for line in log.splitlines():
        match line.split():
            case ["@@", "pinned", pfn, pages]:
                area.lend(int(pfn), int(pages))
            case ["@@", "unpinned"]:
                area.take_back()
            case ["@@", "free", slot, _, _]:
                area.cma_release(*held.pop(int(slot)))
            case ["@@", "alloc", slot, pfn, ticks]:
                request, at = asked[int(slot)], int(pfn) or None
                model = area.foresee(request.pages, request.order)
                skipped = area.follow(request.pages, request.order, at)
                if at is not None:
                    held[request.slot] = at, request.pages
                out.append(Call(request, at, int(ticks) * TICK_NS, model, skipped))
    if [call.request.slot for call in out] != list(asked) or set(held) & set(freed):
        raise BenchError(f"the guest answered {len(out)} of {len(asked)} requests")
    return out


class Witnessed(CmaArea):
    """The model of CMA, which can be made to follow Linux after it has answered by itself."""

    def __init__(self, name: str, base_pfn: int, count: int) -> None:
        super().__init__(name, base_pfn, count)
        self._follows = False
        self._wanted: int | None = None
        self._tried = 0
        self._lent: list[int] = []

    def take_at_boot(self, pages: int) -> None:
        """The kernel's own pools are the area's first allocations."""
        if pages:
            self.follow(pages, 0, self.base_pfn)

    def lend(self, pfn: int, pages: int) -> None:
        """A folio is somebody's who pinned it; one outside the area does not matter here."""
        if self.holds(pfn, pages) and self.tenant(pfn) is None:
            self.settle(pfn, Tenant.ANONYMOUS, pages)
            self.pin(pfn, pages)
            self._lent += range(pfn, pfn + pages)

    def take_back(self) -> None:
        """All such pages are free again."""
        while self._lent:
            self.leave(self._lent.pop())

    def foresee(self, count: int, order: int) -> int | None:
        """What the model answers to a request, which it then forgets."""
        try:
            pfn = self.cma_alloc(count, order)
        except CmaAllocError:
            return None
        self.cma_release(pfn, count)
        return pfn

    def follow(self, count: int, order: int, pfn: int | None) -> int:
        """Do as Linux did; how many places it passed over.

        :raise BenchError: the search never comes to that place
        """
        self._follows, self._wanted, self._tried = True, pfn, 0
        try:
            self.cma_alloc(count, order)
        except CmaAllocError as error:
            if pfn is not None:
                raise BenchError(
                    f"Linux put {count} pages at pfn {pfn:#x}, where first fit never comes to"
                ) from error
            return self._tried
        finally:
            self._follows = False
        return self._tried - 1

    def _claim(self, pfn: int, count: int) -> int:
        if not self._follows:
            return super()._claim(pfn, count)
        self._tried += 1
        return 0 if pfn == self._wanted else errno.EBUSY


@dataclass(frozen=True, slots=True)
class Guaranteed:
    """The same requests to the guaranteed area of the model, its pages full of cached data.

    :ivar requests: how many there were
    :ivar succeeded: how many it met
    :ivar dropped_pages: cached pages that went for them
    """

    requests: int
    succeeded: int
    dropped_pages: int


def guaranteed(plan: LinuxPlan, sequence: list[Request]) -> Guaranteed:
    """Run the requests on the model."""
    verdict = plan.verdict()
    model = from_tree(plan.tree, verdict, PhysicalMemory(np.zeros(FIRST_BANK_BYTES, dtype=np.uint8)))
    area, cache = model.areas[POOL], model.cleancache
    if cache is None:
        raise BenchError(
            f"{plan.name}: {POOL} does not ask for a guarantee: expected the property guaranteed"
        )
    pages = np.zeros((area.count, 4096), dtype=np.uint8)
    cache.put_pages(cache.add_fs(), 1, range(area.count), pages)
    held: dict[int, tuple[int, int]] = {}
    failed = 0
    for request in sequence:
        if not request.pages:
            if request.slot in held:
                area.cma_release(*held.pop(request.slot))
            continue
        try:
            held[request.slot] = area.cma_alloc(request.pages, request.order), request.pages
        except CmaAllocError:
            failed += 1
    asked = sum(bool(request.pages) for request in sequence)
    return Guaranteed(asked, asked - failed, cache.counters.recalled)


def trace_of(log: str) -> Iterator[str]:
    """The kernel's trace in a log, line by line."""
    _, _, text = log.partition("@@ file /sys/kernel/tracing/trace\n")
    for line in text.splitlines():
        if line.startswith("@@ end"):
            return
        yield line
