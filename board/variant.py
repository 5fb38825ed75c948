"""Bad variants of a board: each must be refused in one sentence before QEMU starts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import dts
from board.error import BoardError, RefusedBoardError
from board.plan import Plan, make_plan
from dts import Range


@dataclass(frozen=True, slots=True)
class Variant:
    """An edit that breaks a board, and words that its refusal must have."""

    id: str
    title: str
    edit: Callable[[dts.Node, Plan], None]
    words: str


def refusal(plan: Plan, variant: Variant) -> str:
    """The sentence that refuses the variant of a plan's board.

    :raise BoardError: the variant was accepted, or refused for another reason
    """
    tree = dts.read_blob(dts.flatten(plan.tree), plan.name)
    variant.edit(tree.node(plan.pool.path), plan)
    try:
        made = make_plan(tree)
    except RefusedBoardError as error:
        if variant.words in str(error):
            return str(error)
        raise BoardError(f"{variant.id}: expected a refusal with {variant.words!r}, got: {error}") from error
    raise BoardError(f"{variant.id}: the board was accepted, its pool at {made.place}")


def _remove(pool: dts.Node, _: Plan) -> None:
    assert pool.parent is not None
    pool.parent.remove(pool.name)


def _enlarge(pool: dts.Node, plan: Plan) -> None:
    _forget_place(pool)
    pool.properties["size"] = _cells(plan.machine.ram_bytes, pool.parent, "size")


def _move(place: Range) -> Callable[[dts.Node, Plan], None]:
    def edit(pool: dts.Node, _: Plan) -> None:
        _forget_place(pool)
        base, size = _cells(place.base, pool.parent, "address"), _cells(place.size, pool.parent, "size")
        pool.properties["reg"] = base + size

    return edit


def _forget_place(pool: dts.Node) -> None:
    for name in ("reg", "size", "alignment", "alloc-ranges"):
        pool.properties.pop(name, None)


def _cells(value: int, parent: dts.Node | None, kind: str) -> bytes:
    assert parent is not None
    return value.to_bytes(4 * (parent.address_cells if kind == "address" else parent.size_cells), "big")


VARIANTS: Final = (
    Variant("board.no-pool", "no pool in the tree", _remove, "no guaranteed pool"),
    Variant("board.pool-too-large", "pool as large as RAM", _enlarge, "finds no place"),
    Variant(
        "board.pool-outside-ram",
        "pool where no RAM is",
        _move(Range(0x9000_0000, 0x0100_0000)),
        "outside the board's RAM",
    ),
    Variant(
        "board.pool-over-firmware",
        "pool on top of the firmware",
        _move(Range(0x0040_0000, 0x0100_0000)),
        "covers the firmware",
    ),
)
