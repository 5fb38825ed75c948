"""What is decided before QEMU starts: the pool's place, the tree the guest gets, and every refusal."""

from collections.abc import Callable
from pathlib import Path

import pytest

import dts
from board import BoardError, Plan, RefusedBoardError, load_plan, make_plan
from board.machine import DOORBELL, DTB_LIMIT_BYTES
from board.variant import VARIANTS, Variant, refusal
from dts import Range
from guest import protocol

Planner = Callable[..., Plan]

BOARD = """/dts-v1/;
/ {{
    compatible = "{machine}"; #address-cells = <{cells}>; #size-cells = <1>;
    {memory}
    reserved-memory {{ #address-cells = <{cells}>; #size-cells = <1>; ranges; {pool} }};
    soc {{ {soc} }};
}};
"""
POOL = 'pool {{ compatible = "shared-dma-pool"; reusable; guaranteed; {} }};'


def source(
    pool: str = "", machine: str = "brcm,bcm2837", memory: str = "", soc: str = "", cells: int = 1
) -> str:
    return BOARD.format(pool=pool, machine=machine, memory=memory, soc=soc, cells=cells)


def numbers(value: bytes) -> list[int]:
    return [int.from_bytes(value[at : at + 8], "big") for at in range(0, len(value), 8)]


@pytest.mark.parametrize(
    ("name", "place", "high"),
    [
        ("rpi-4-b.dts", Range(0x2C00_0000, 0x1000_0000), Range(0x4000_0000, 0x4000_0000)),
        ("rpi-3-b.dts", Range(0x3400_0000, 0x0800_0000), None),
    ],
)
def test_our_boards(boards: Path, name: str, place: Range, high: Range | None) -> None:
    plan = load_plan(boards / name)
    assert plan.place == place
    assert plan.high_memory == high
    assert sorted(plan.devices) == ["camera", "codec", "display", "dma", "v3d"]
    # the kernel's own rule: top down, as high as alignment and the neighbours allow
    assert place.end == 0x3C00_0000


def test_the_guests_tree(each_board: Path) -> None:
    plan = load_plan(each_board)
    tree = dts.read_blob(plan.blob, "guest")
    chosen = tree.node("/chosen").properties
    assert numbers(chosen[protocol.CHOSEN_DOORBELL]) == [DOORBELL.base, DOORBELL.size]
    banks = numbers(chosen[protocol.CHOSEN_RAM])
    assert [Range(*pair) for pair in zip(banks[::2], banks[1::2], strict=True)] == list(plan.machine.memory)
    assert numbers(tree.node(plan.pool.path).properties[protocol.PLACED]) == [
        plan.place.base,
        plan.place.size,
    ]


def test_nothing_else_is_changed(each_board: Path) -> None:
    plan = load_plan(each_board)
    guest = dts.read_blob(plan.blob, "guest")
    added = {protocol.CHOSEN_DOORBELL, protocol.CHOSEN_RAM, protocol.PLACED}
    for node in plan.tree.walk():
        there = {k: v for k, v in guest.node(node.path).properties.items() if k not in added}
        assert there == node.properties, node.path
    assert plan.tree.memreserve == guest.memreserve


def test_the_users_tree_is_left_alone(each_board: Path) -> None:
    plan = load_plan(each_board)
    assert protocol.PLACED not in plan.tree.node(plan.pool.path).properties


@pytest.mark.parametrize(
    ("pool", "place"),
    [
        ("size = <0x2000000>;", Range(0x3A00_0000, 0x0200_0000)),
        ("reg = <0x20000000 0x2000000>;", Range(0x2000_0000, 0x0200_0000)),
        ("size = <0x2000000>; alignment = <0x10000000>;", Range(0x3000_0000, 0x0200_0000)),
        ("size = <0x2000000>; alloc-ranges = <0x10000000 0x8000000>;", Range(0x1600_0000, 0x0200_0000)),
        # what QEMU and the firmware use is left out
        ("size = <0x2000000>; alloc-ranges = <0x0 0x9000000>;", Range(0x0600_0000, 0x0200_0000)),
    ],
)
def test_place(planner: Planner, pool: str, place: Range) -> None:
    assert planner(source(POOL.format(pool))).place == place


def test_memory_that_the_tree_leaves_out_is_not_used(planner: Planner) -> None:
    memory = 'memory@0 { device_type = "memory"; reg = <0x0 0x20000000>; };'
    plan = planner(source(POOL.format("size = <0x2000000>;"), memory=memory))
    assert plan.place == Range(0x1E00_0000, 0x0200_0000)


def test_no_memory_node_means_the_machines(planner: Planner) -> None:
    plan = planner(source(POOL.format("size = <0x2000000>;")))
    assert plan.verdict.memory == plan.machine.memory


def test_a_pool_above_a_gib(planner: Planner) -> None:
    plan = planner(source(POOL.format("reg = <0x60000000 0x2000000>;"), machine="brcm,bcm2711"))
    assert plan.place.base == 0x6000_0000


def test_devices_are_found_by_compatible(planner: Planner) -> None:
    soc = """
        off { compatible = "brcm,bcm2835-unicam"; status = "disabled"; };
        eye: on { compatible = "acme,eye", "brcm,bcm2711-unicam"; };
        other { compatible = "brcm,bcm2835-unicam"; };
        engine { compatible = "brcm,bcm2835-dma"; };
    """
    plan = planner(source(POOL.format("size = <0x2000000>;"), soc=soc))
    assert plan.devices == {"camera": "/soc/on", "dma": "/soc/engine"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            source(),
            "board.dts: no guaranteed pool: expected a node below /reserved-memory with "
            'compatible = "shared-dma-pool", reusable and guaranteed, and a size; found none '
            "(dts/boards/ has boards to copy from)",
        ),
        (
            source(POOL.format("size = <0x2000000>;").replace("guaranteed; ", "")),
            "board.dts: no guaranteed pool: expected a node below /reserved-memory with "
            'compatible = "shared-dma-pool", reusable and guaranteed, and a size; found none '
            "(dts/boards/ has boards to copy from)",
        ),
        (
            source(POOL.format('size = <0x2000000>; status = "disabled";')),
            "board.dts: /reserved-memory/pool is disabled or ignored by the kernel",
        ),
        (
            source(POOL.format("size = <0x40000000>;")),
            "board.dts: /reserved-memory/pool: a pool of 1 GiB finds no place in all memory; "
            "the largest free range of raspi3b is 828 MiB: make it smaller",
        ),
        (
            source(POOL.format("size = <0x2000000>; alloc-ranges = <0x200000 0x1000000>;")),
            "board.dts: /reserved-memory/pool: a pool of 32 MiB finds no place in 0x200000..0x11fffff; "
            "the largest free range of raspi3b is 828 MiB: make it smaller",
        ),
        (
            source(POOL.format("reg = <0x40000000 0x2000000>;")),
            "board.dts: /reserved-memory/pool: the pool at 0x40000000..0x41ffffff lies outside the board's "
            "RAM (0x0..0x3bffffff): move it inside",
        ),
        (
            source(POOL.format("reg = <0x0 0x400000>;")),
            "board.dts: /reserved-memory/pool: the pool at 0x0..0x3fffff covers QEMU's boot stub and spin "
            "table at 0x0..0xfff: move it, or give size and alloc-ranges instead of reg",
        ),
        (
            source(POOL.format("reg = <0x3c00000 0x400000>;")),
            "board.dts: /reserved-memory/pool: the pool at 0x3c00000..0x3ffffff covers the firmware at "
            "0x200000..0x3ffffff: move it, or give size and alloc-ranges instead of reg",
        ),
        (
            source(POOL.format("reg = <0x8000000 0x400000>;")),
            "board.dts: /reserved-memory/pool: the pool at 0x8000000..0x83fffff covers the devicetree, where "
            "QEMU puts it at 0x8000000..0x83fffff: move it, or give size and alloc-ranges instead of reg",
        ),
    ],
)
def test_refusal(planner: Planner, text: str, message: str) -> None:
    with pytest.raises(RefusedBoardError) as caught:
        planner(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        source(POOL.format("reg = <0x20000000 0x2100000>;")),  # not of CMA's grain
        source(POOL.format("size = <0x2100000>;")),
        source(POOL.format("size = <0x2000000>; no-map;")),
        source(POOL.format("")),
        source(POOL.format("size = <0>;")),
        source(POOL.format("size = <0x2000000>;").replace("reusable; ", "")),
        source(POOL.format("size = <0x2000000>;")).replace("ranges;", ""),
    ],
)
def test_what_the_kernel_refuses_is_refused_in_one_sentence(planner: Planner, text: str) -> None:
    with pytest.raises(RefusedBoardError, match=r"^board\.dts: [^\n]{20,500}$"):
        planner(text)


def test_a_tree_too_large_to_boot(planner: Planner) -> None:
    huge = f"blob = [{'00' * DTB_LIMIT_BYTES}];"
    with pytest.raises(
        RefusedBoardError, match=r"^board\.dts: the tree has 0x[0-9a-f]+ bytes; at most 1 MiB "
    ):
        planner(source(POOL.format("size = <0x2000000>;"), soc=huge))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.id)
def test_bad_variants_of_our_boards(each_board: Path, variant: Variant) -> None:
    plan = load_plan(each_board)
    said = refusal(plan, variant)
    assert said.startswith(f"{each_board}: ")
    assert variant.words in said
    assert "\n" not in said
    assert make_plan(plan.tree).place == plan.place, "the plan's own tree was edited"


def test_a_variant_that_is_accepted_is_a_failure(each_board: Path) -> None:
    harmless = Variant("board.fine", "nothing is wrong", lambda pool, plan: None, "no words")
    with pytest.raises(BoardError, match=r"^board\.fine: the board was accepted, its pool at 0x"):
        refusal(load_plan(each_board), harmless)


def test_a_variant_refused_for_another_reason_is_a_failure(each_board: Path) -> None:
    other = Variant("board.other", "", VARIANTS[0].edit, "words that nobody says")
    with pytest.raises(
        BoardError, match=r"^board\.other: expected a refusal with 'words that nobody says', got: "
    ):
        refusal(load_plan(each_board), other)
