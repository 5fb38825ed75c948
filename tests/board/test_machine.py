"""The table of emulated machines, and what QEMU says of itself."""

import itertools
from pathlib import Path

import pytest

import dts
from board import MachineError
from board.machine import (
    DOORBELL,
    DTB_LIMIT_BYTES,
    MACHINES,
    Machine,
    machine_for,
    qemu_version,
    require_qemu,
)
from dts import Range
from dts.source import compile_source

each = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


@each
def test_memory_is_inside_ram(machine: Machine) -> None:
    assert all(Range(0, machine.ram_bytes).holds(bank) for bank in machine.memory)


@each
def test_ranges_are_whole_pages(machine: Machine) -> None:
    for item in (*machine.memory, *(occupied.range for occupied in machine.occupied)):
        assert item.base % 4096 == item.size % 4096 == 0


@each
def test_occupied_ranges_do_not_overlap(machine: Machine) -> None:
    for one, other in itertools.combinations(machine.occupied, 2):
        assert not one.range.overlaps(other.range), (one, other)


@each
def test_doorbell_is_closed_and_in_memory(machine: Machine) -> None:
    assert any(bank.holds(DOORBELL) for bank in machine.memory)
    assert [item for item in machine.occupied if item.range == DOORBELL and item.closed]


@each
def test_the_devicetree_has_room_for_qemus_slack(machine: Machine) -> None:
    (place,) = [item.range for item in machine.occupied if "devicetree" in item.what]
    # facts of QEMU: (n + 10,000) * 2
    assert place.size >= 2 * (DTB_LIMIT_BYTES + 10_000)


def test_machines_are_told_apart() -> None:
    assert len({machine.name for machine in MACHINES}) == len(MACHINES)
    assert len({machine.compatible for machine in MACHINES}) == len(MACHINES)


def tree(root: str) -> dts.Tree:
    return dts.read_blob(compile_source(f"/dts-v1/; / {{ {root} }};".encode(), "b.dts"), "b.dts")


@pytest.mark.parametrize(
    ("compatible", "name"),
    [
        ('"brcm,bcm2711"', "raspi4b"),
        ('"raspberrypi,4-compute-module", "brcm,bcm2711"', "raspi4b"),
        ('"brcm,bcm2837"', "raspi3b"),
        ('"raspberrypi,3-model-b-plus", "brcm,bcm2837"', "raspi3b"),
    ],
)
def test_machine_follows_from_compatible(compatible: str, name: str) -> None:
    assert machine_for(tree(f"compatible = {compatible};")).name == name


@pytest.mark.parametrize(
    ("root", "seen"), [("", "nothing"), ('compatible = "brcm,bcm2712", "acme";', "brcm,bcm2712, acme")]
)
def test_no_machine(root: str, seen: str) -> None:
    with pytest.raises(MachineError) as caught:
        machine_for(tree(root))
    assert str(caught.value) == (
        "b.dts: no emulated machine: the root's compatible must list one of brcm,bcm2711, brcm,bcm2837; "
        f"it lists {seen}"
    )


def fake(folder: Path, text: str, mode: int = 0o755) -> Path:
    path = folder / "qemu-system-aarch64"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", (10, 0)),
        ("QEMU emulator version 9.0.50 (v9.0.0-1234-gabcdef)", (9, 0)),
        ("QEMU emulator version 7.2.17", (7, 2)),
    ],
)
def test_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, version: tuple[int, int]
) -> None:
    fake(tmp_path, f"#!/bin/sh\necho '{line}'\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert qemu_version() == version


def test_no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError) as caught:
        qemu_version()
    assert str(caught.value) == (
        "qemu-system-aarch64 is not on PATH: install Debian's qemu-system-arm (9.0 or newer for raspi4b) "
        "or run scripts/setup"
    )


def test_something_else_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake(tmp_path, "#!/bin/sh\necho hello\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        qemu_version()
    assert str(caught.value) == f"{path} --version: expected a version number, saw 'hello\\n'"


def test_qemu_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake(tmp_path, "no program")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=rf"^{path}: it does not run: "):
        qemu_version()


def test_qemu_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake(tmp_path, "#!/bin/sh\nexec /bin/sleep 60\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("board.machine._VERSION_SECONDS", 0.3)
    with pytest.raises(MachineError, match=rf"^{path}: it does not run: .*timed out"):
        qemu_version()


@each
def test_new_enough(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.machine.qemu_version", lambda: machine.qemu_since)
    assert require_qemu(machine) == machine.qemu_since


def test_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.machine.qemu_version", lambda: (8, 2))
    with pytest.raises(MachineError) as caught:
        require_qemu(MACHINES[0])
    assert str(caught.value) == (
        "raspi4b came with QEMU 9.0, this is 8.2: on Debian 12 take qemu-system-arm from bookworm-backports "
        "(scripts/setup does); boards on raspi3b work (dts/boards/rpi-3-b.dts)"
    )


def test_too_old_for_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.machine.qemu_version", lambda: (4, 0))
    with pytest.raises(MachineError, match=r"this is 4\.0: .* \(scripts/setup does\)$"):
        require_qemu(MACHINES[1])
