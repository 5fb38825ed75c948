"""File pages on their way into the pool and out of it: the cleancache, as the guest uses it."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from allocator.cleancache import Cleancache
from allocator.revision import Drop, LargeFolio
from allocator.steps import MAX_INDEX
from board.doorbell import Refusal, Reply, Request
from board.tally import Tally
from board.territory import Territory
from guest.protocol import BATCH_PAGES, PAGE_BYTES, Change, Op

INODE_BITS: Final = 32


class FilePages:
    """The cleancache with one filesystem mounted; what it does is counted."""

    def __init__(
        self, cleancache: Cleancache, tally: Tally, territory: Territory, ram: NDArray[np.uint8]
    ) -> None:
        self._cleancache = cleancache
        self._tally = tally
        self._territory = territory
        self._ram = ram
        self._fs = cleancache.add_fs()

    def handlers(self) -> dict[int, Callable[[Request], Reply | None]]:
        """What answers the guest's requests."""
        return {
            Op.PUT: self._put,
            Op.GET: self._get,
            Op.INVALIDATE: self._invalidate,
            Op.STALE: self._stale,
            Op.CHANGE: self._change,
        }

    def mount(self) -> None:
        """A filesystem that was never read from: a case finds nothing of the one before in the cache."""
        self._cleancache.remove_fs(self._fs)
        self._fs = self._cleancache.add_fs()

    def put(self, inode: int, indexes: Sequence[int], data: NDArray[np.uint8]) -> int:
        """Offer pages that leave the page cache; how many were kept."""
        kept = int(self._cleancache.put_pages(self._fs, inode, indexes, data))
        self._tally.put += kept
        return kept

    def get(self, inode: int, indexes: Sequence[int], out: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Read pages back into ``out``; which were there."""
        found = self._cleancache.get_pages(self._fs, inode, indexes, out)
        hits = int(found.sum())
        self._tally.hit += hits
        self._tally.miss += len(found) - hits
        return found

    def inodes(self) -> list[int]:
        """The files that have pages here."""
        return [inode for inode in self._cleancache.files(self._fs) if isinstance(inode, int)]

    def change(self, change: Change, inode: int, first: int, count: int) -> tuple[int, bool]:
        """Tell the cleancache of a change as the revision's hooks would, of pages that are not in memory.

        :return: entries dropped, and whether the revision leaves stale ones behind
        """
        revision = self._cleancache.revision
        what = {
            Change.TRUNCATE: revision.truncate,
            Change.DIRECT_WRITE: revision.direct_write,
            Change.LARGE_FOLIO: Drop.RANGE if revision.large_folio is LargeFolio.DROPPED else Drop.RESIDENT,
        }[change]
        return self._cleancache.drop(self._fs, inode, first, count, what), what is Drop.RESIDENT

    def stale(self, count: int) -> None:
        """Count pages that came back with other bytes than were put."""
        self._tally.stale_reads += count

    # ---- requests

    def _pages(self, request: Request) -> tuple[int, range, NDArray[np.uint8]]:
        """The file, the page indexes and the guest's memory of a PUT or GET."""
        inode, index, count, address = request.arguments[:4]
        if inode >> INODE_BITS:
            raise Refusal(f"inode {inode:#x}: expected at most {INODE_BITS} bits")
        if not 0 < count <= BATCH_PAGES:
            raise Refusal(f"{count} pages in one request: expected 1 to {BATCH_PAGES}")
        if index + count > MAX_INDEX:
            raise Refusal(f"page index {index:#x}: a file has at most {MAX_INDEX:#x} pages")
        if address % PAGE_BYTES:
            raise Refusal(f"pages at {address:#x}: expected a multiple of {PAGE_BYTES}")
        size = count * PAGE_BYTES
        objection = self._territory.objection(address, size)
        if objection:
            raise Refusal(objection)
        return inode, range(index, index + count), self._ram[address : address + size]

    def _put(self, request: Request) -> Reply:
        return Reply(values=(self.put(*self._pages(request)),))

    def _get(self, request: Request) -> Reply:
        found = self.get(*self._pages(request))
        bits = np.packbits(found, bitorder="little").tobytes().ljust(BATCH_PAGES // 8, b"\0")
        return Reply(values=(int(found.sum()), *(int(word) for word in np.frombuffer(bits, dtype="<u8"))))

    def _invalidate(self, request: Request) -> Reply:
        inode = request.arguments[0]
        if inode >> INODE_BITS:
            raise Refusal(f"inode {inode:#x}: expected at most {INODE_BITS} bits")
        return Reply(values=(self._cleancache.invalidate_inode(self._fs, inode),))

    def _change(self, request: Request) -> Reply:
        change, inode, first, count = request.arguments[:4]
        if change not in tuple(Change):
            raise Refusal(
                f"change {change}: expected one of {', '.join(f'{c.value} ({c.name})' for c in Change)}"
            )
        if inode >> INODE_BITS or not 0 < count <= BATCH_PAGES or first + count > MAX_INDEX:
            raise Refusal(
                f"{count} pages from {first:#x} of inode {inode:#x}: expected 1 to {BATCH_PAGES} of a file"
            )
        return Reply(values=tuple(map(int, self.change(Change(change), inode, first, count))))

    def _stale(self, request: Request) -> Reply:
        self.stale(request.arguments[0])
        return Reply()
