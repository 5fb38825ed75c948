"""From a devicetree to a board that can be booted: machine, pool, and the tree the guest gets.

All that can be known before QEMU starts is decided here; a tree that cannot work is
refused in one sentence.
"""

from dataclasses import dataclass
from pathlib import Path

import dts
from board.error import RefusedBoardError
from board.machine import DOORBELL, DTB_LIMIT_BYTES, Machine, machine_for
from dts import Range
from dts.range import size_text, without
from guest import protocol


@dataclass(frozen=True, slots=True)
class Plan:
    """A board to boot.

    :ivar name: the path of the tree, as the user gave it
    :ivar tree: as the user wrote it
    :ivar verdict: what the kernel would make of it on this machine
    :ivar pool: the guaranteed region that the tests use
    :ivar place: where it lies
    :ivar blob: the tree the guest gets, with what the host computed added
    :ivar devices: node path of each DMA client that the tree has, by its name in results
    """

    name: str
    machine: Machine
    tree: dts.Tree
    verdict: dts.Verdict
    pool: dts.Region
    place: Range
    blob: bytes
    devices: dict[str, str]

    @property
    def high_memory(self) -> Range | None:
        """RAM at or above 1 GiB."""
        return next((ram for ram in self.machine.memory if ram.base >= 1 << 30), None)


def load_plan(path: str | Path) -> Plan:
    """Read a devicetree and plan its board.

    :raise dts.DtsError: the file cannot be read
    :raise MachineError: no emulated machine is compatible with it
    :raise RefusedBoardError: its pool cannot work
    """
    return make_plan(dts.load(path))


def make_plan(tree: dts.Tree) -> Plan:
    """Plan the board of a tree; raises as :func:`load_plan` does."""
    machine = machine_for(tree)
    verdict = dts.examine(tree, _assumptions(tree, machine))
    pool = _the_pool(tree, verdict)
    place = _place(tree, machine, verdict, pool)
    return Plan(
        name=tree.name,
        machine=machine,
        tree=tree,
        verdict=verdict,
        pool=pool,
        place=place,
        blob=_guest_blob(tree, machine, pool, place),
        devices={
            device.name: node.path
            for device in protocol.DEVICES
            if (node := next((n for n in tree.compatible(*device.compatible) if n.available), None))
            is not None
        },
    )


def _assumptions(tree: dts.Tree, machine: Machine) -> dts.Assumptions:
    """RAM as QEMU has it, less what the tree leaves out; what firmware and QEMU use is taken."""
    declared = dts.examine(tree).memory
    memory = machine.memory
    if declared:
        outside = without(memory, declared)
        memory = tuple(without(machine.memory, outside))
    return dts.Assumptions(memory=memory, occupied=tuple(item.range for item in machine.occupied))


def _the_pool(tree: dts.Tree, verdict: dts.Verdict) -> dts.Region:
    pools = [region for region in verdict.regions.values() if region.available and region.guaranteed]
    if pools:
        return pools[0]
    asking = [region for region in verdict.regions.values() if "guaranteed" in region.flags]
    if asking:
        raise RefusedBoardError(f"{tree.name}: {asking[0].path} {_reason(verdict, asking[0].path)}")
    raise RefusedBoardError(
        f"{tree.name}: no guaranteed pool: expected a node below /reserved-memory with "
        'compatible = "shared-dma-pool", reusable and guaranteed, and a size; found none '
        "(dts/boards/ has boards to copy from)"
    )


def _reason(verdict: dts.Verdict, path: str) -> str:
    errors = [f for f in verdict.findings if f.node == path and f.severity is dts.Severity.ERROR]
    return f"cannot be used: {errors[0].message}" if errors else "is disabled or ignored by the kernel"


def _place(tree: dts.Tree, machine: Machine, verdict: dts.Verdict, pool: dts.Region) -> Range:
    where = f"{tree.name}: {pool.path}"
    place = pool.range
    if place is None and pool.size is not None and not pool.reg:
        room = without(verdict.memory, [item.range for item in machine.occupied])
        largest = max((item.size for item in room), default=0)
        within = " and ".join(str(item) for item in pool.alloc_ranges or ()) or "all memory"
        raise RefusedBoardError(
            f"{where}: a pool of {size_text(pool.size)} finds no place in {within}; "
            f"the largest free range of {machine.name} is {size_text(largest)}: make it smaller"
        )
    if place is None:
        raise RefusedBoardError(f"{where} {_reason(verdict, pool.path)}")
    if not any(ram.holds(place) for ram in verdict.memory):
        banks = ", ".join(str(ram) for ram in verdict.memory)
        raise RefusedBoardError(
            f"{where}: the pool at {place} lies outside the board's RAM ({banks}): move it inside"
        )
    for item in machine.occupied:
        if item.range.overlaps(place):
            raise RefusedBoardError(
                f"{where}: the pool at {place} covers {item.what} at {item.range}: move it, or give size and "
                "alloc-ranges instead of reg"
            )
    if pool.state not in (dts.State.ACCEPTED, dts.State.DYNAMIC):
        raise RefusedBoardError(f"{where} {_reason(verdict, pool.path)}")
    return place


def _pairs(*ranges: Range) -> bytes:
    return b"".join(number.to_bytes(8, "big") for item in ranges for number in (item.base, item.size))


def _guest_blob(tree: dts.Tree, machine: Machine, pool: dts.Region, place: Range) -> bytes:
    """The tree with what the host computed: the guest reads it from there, as it would from a boot loader."""
    copy = dts.read_blob(dts.flatten(tree), tree.name)
    chosen = copy.find("/chosen") or copy.root.add("chosen")
    chosen.properties[protocol.CHOSEN_DOORBELL] = _pairs(DOORBELL)
    chosen.properties[protocol.CHOSEN_RAM] = _pairs(*machine.memory)
    copy.node(pool.path).properties[protocol.PLACED] = _pairs(place)
    blob = dts.flatten(copy)
    if len(blob) > DTB_LIMIT_BYTES:
        raise RefusedBoardError(
            f"{tree.name}: the tree has {size_text(len(blob))}; at most {size_text(DTB_LIMIT_BYTES)} "
            "are booted, because QEMU puts it into RAM without looking what lies there"
        )
    return blob
