"""Free and taken pages of an area, and the search for a free aligned run.

The bitmap is the kernel's: one bit a page, set while the page is taken. The search answers as the kernel's
`bitmap_find_next_zero_area_off` does (`lib/bitmap.c`): first fit, with the alignment of the absolute pfn.
Only the way there differs: over each bitmap of more than `SMALL` words stands a tree whose nodes know the
longest free run below them, so that looking for a run visits O(log n) nodes instead of every word. Small
areas scan words as the kernel does; that is faster there.

Layout of the tree: node k has children 2k and 2k+1, the root is 1, the leaf of word w is `leaves + w`. A
node holds three numbers: free pages at its beginning, free pages at its end, longest free run. That is 24
bytes a word of 64 pages.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from allocator.compiled import Ints, Words, compiled, leading_zeros, trailing_zeros

__all__ = ["Runs", "clear", "find", "first_clear", "first_set", "mark"]

SMALL: Final = 256
"""Areas of up to this many words (64 MiB of 4 KiB pages) have no tree."""

ZERO: Final = np.uint64(0)
ONE: Final = np.uint64(1)
FULL: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


class Runs:
    """The bitmap of an area of `count` pages, all free at first.

    count   pages in the area
    words   uint64, bit `i % 64` of word `i // 64` is set while page i is taken; so are all bits from
    `count` on tree    int32, empty for a small area
    """

    __slots__ = ("count", "tree", "words")

    def __init__(self, count: int) -> None:
        size = (count + 63) // 64
        leaves = 0
        if size > SMALL:
            leaves = size = 1 << (size - 1).bit_length()
        self.count = count
        self.words: Words = np.zeros(size, np.uint64)
        self.words[count // 64 :] = FULL
        if count % 64:
            self.words[count // 64] = FULL << np.uint64(count % 64)
        self.tree: Ints = np.zeros(6 * leaves, np.int32)
        span = 64
        while leaves:
            below = np.clip(count - np.arange(leaves, dtype=np.int64) * span, 0, span)
            nodes = self.tree[3 * leaves : 6 * leaves].reshape(-1, 3)
            nodes[:, 0] = nodes[:, 2] = below
            nodes[:, 1] = np.where(below == span, span, 0)
            leaves, span = leaves // 2, span * 2

    def find(self, want: int, mask: int = 0, offset: int = 0, start: int = 0) -> int:
        """The lowest free run of `want` pages from page `start` on, or -1; see `find` of this module."""
        return find(self.words, self.tree, self.count, want, mask, offset, start)

    def mark(self, start: int, count: int) -> None:
        """Take pages."""
        mark(self.words, self.tree, self.count, start, count)

    def clear(self, start: int, count: int) -> None:
        """Give pages back."""
        clear(self.words, self.tree, self.count, start, count)

    def longest(self) -> int:
        """The longest free run, in pages."""
        return longest(self.words, self.tree, self.count)

    def taken(self) -> int:
        """How many pages are taken."""
        return int(np.bitwise_count(self.words).sum()) - (64 * len(self.words) - self.count)


@compiled
def first_set(words: Words, start: int, stop: int) -> int:
    """The first taken page in [start, stop), or `stop`."""
    if start >= stop:
        return stop
    # Unsigned indices: with signed ones each access also tests for an index from the end.
    at = np.uint64(start >> 6)
    last = np.uint64((stop - 1) >> 6)
    word = words[at] & (FULL << np.uint64(start & 63))
    while word == ZERO:
        if at == last:
            return stop
        at += ONE
        word = words[at]
    return min(int(np.int64(at)) * 64 + trailing_zeros(word), stop)


@compiled
def first_clear(words: Words, start: int, stop: int) -> int:
    """The first free page in [start, stop), or `stop`."""
    if start >= stop:
        return stop
    at = np.uint64(start >> 6)
    last = np.uint64((stop - 1) >> 6)
    word = ~words[at] & (FULL << np.uint64(start & 63))
    while word == ZERO:
        if at == last:
            return stop
        at += ONE
        word = ~words[at]
    return min(int(np.int64(at)) * 64 + trailing_zeros(word), stop)


@compiled
def next_run(words: Words, tree: Ints, start: int, want: int) -> int:
    """Where from page `start` on the first run of `want` free pages begins, or -1. Needs a tree.

    `carry` is the length of the free run that ends where the part already seen ends.
    """
    leaves = len(tree) // 6
    if tree[5] < want or start >= 64 * leaves:
        return -1
    node = 1
    seen = 0
    span = 64 * leaves
    if start > 0:
        node = leaves + (start >> 6)
        seen = (start >> 6) << 6
        span = 64
        word = words[start >> 6] | ~(FULL << np.uint64(start & 63))
        at = _run_in_word(word, want)
        if at >= 0:
            return seen + at
        carry = _free_at_end(word)
        seen += 64
        # Climb; look into each right-hand neighbour until one holds or completes a run.
        while True:
            while node & 1:
                if node == 1:
                    return -1
                node >>= 1
                span <<= 1
            node += 1
            if carry + tree[3 * node] >= want:
                return seen - carry
            if tree[3 * node + 2] >= want:
                break
            if tree[3 * node] == span:
                carry += span
            else:
                carry = int(tree[3 * node + 1])
            seen += span
    # Descend to the first run of the node; its parts left of `node` are too short.
    while node < leaves:
        node <<= 1
        span >>= 1
        if tree[3 * node + 2] >= want:
            continue
        seen += span
        if tree[3 * node + 1] + tree[3 * node + 3] >= want:
            return seen - int(tree[3 * node + 1])
        node += 1
    return seen + _run_in_word(words[node - leaves], want)


@compiled
def find(words: Words, tree: Ints, nbits: int, want: int, mask: int, offset: int, start: int) -> int:
    """The lowest i >= start with `i + offset` a multiple of `mask + 1` and pages [i, i + want) free, or -1.

    Source: `bitmap_find_next_zero_area_off`; `mask` is 2^align - 1, `offset` the low `align` bits of the
    base pfn.
    """
    while True:
        if len(tree):
            start = next_run(words, tree, start, want)
            if start < 0:
                return -1
        else:
            start = first_clear(words, start, nbits)
        start = ((start + offset + mask) & ~mask) - offset
        if start + want > nbits:
            return -1
        taken = first_set(words, start, start + want)
        if taken == start + want:
            return start
        start = taken + 1


@compiled
def mark(words: Words, tree: Ints, nbits: int, start: int, count: int) -> None:
    """Set pages [start, start + count) taken."""
    _fill(words, start, count, FULL)
    if len(tree):
        _renew(words, tree, start, count)


@compiled
def clear(words: Words, tree: Ints, nbits: int, start: int, count: int) -> None:
    """Set pages [start, start + count) free."""
    _fill(words, start, count, ZERO)
    if len(tree):
        _renew(words, tree, start, count)


@compiled
def longest(words: Words, tree: Ints, nbits: int) -> int:
    """The longest free run, in pages."""
    if len(tree):
        return int(tree[5])
    best = 0
    start = first_clear(words, 0, nbits)
    while start < nbits:
        stop = first_set(words, start, nbits)
        best = max(best, stop - start)
        start = first_clear(words, stop, nbits)
    return best


@compiled
def _run_in_word(word: np.uint64, want: int) -> int:
    """Where the first run of `want` zero bits of `word` begins, or -1."""
    if want > 64:
        return -1
    # After the loop a bit is set where `want` zeros begin: each round doubles the length looked at.
    runs = ~word
    length = 1
    while length < want and runs != ZERO:
        step = min(length, want - length)
        runs &= runs >> np.uint64(step)
        length += step
    return -1 if runs == ZERO else trailing_zeros(runs)


@compiled
def _free_at_end(word: np.uint64) -> int:
    return 64 if word == ZERO else leading_zeros(word)


@compiled
def _longest_in_word(word: np.uint64) -> int:
    if word == ZERO:
        return 64
    runs = ~word
    length = 0
    while runs != ZERO:
        runs &= runs >> ONE
        length += 1
    return length


@compiled
def _fill(words: Words, start: int, count: int, pattern: np.uint64) -> None:
    """Give pages [start, start + count) the bits of `pattern`."""
    stop = start + count
    while start < stop:
        at = start >> 6
        count = min(stop - start, 64 - (start & 63))
        bits = (FULL >> np.uint64(64 - count)) << np.uint64(start & 63)
        words[at] = (words[at] & ~bits) | (pattern & bits)
        start += count


@compiled
def _renew(words: Words, tree: Ints, start: int, count: int) -> None:
    """Bring the tree up to date after the words of [start, start + count) changed."""
    leaves = len(tree) // 6
    first = leaves + (start >> 6)
    last = leaves + ((start + count - 1) >> 6)
    for node in range(first, last + 1):
        word = words[node - leaves]
        tree[3 * node] = 64 if word == ZERO else trailing_zeros(word)
        tree[3 * node + 1] = _free_at_end(word)
        tree[3 * node + 2] = _longest_in_word(word)
    span = 64
    while first > 1:
        first >>= 1
        last >>= 1
        changed = False
        for node in range(first, last + 1):
            left = 6 * node
            right = left + 3
            head = tree[left]
            if head == span:
                head += tree[right]
            tail = tree[right + 1]
            if tail == span:
                tail += tree[left + 1]
            best = max(tree[left + 2], tree[right + 2], tree[left + 1] + tree[right])
            at = 3 * node
            if tree[at] != head or tree[at + 1] != tail or tree[at + 2] != best:
                changed = True
                tree[at] = head
                tree[at + 1] = tail
                tree[at + 2] = best
        if not changed:
            return
        span <<= 1
