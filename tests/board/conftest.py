"""A board without QEMU: its plan, its RAM and the host's services, driven by plain calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import dts
from allocator import Model, PhysicalMemory, from_tree
from board import Plan, Tally, make_plan
from board.doorbell import Reply, Request
from board.services import Services
from dts.source import compile_source
from guest import protocol
from guest.protocol import Op

SCREEN = (48, 64)


def planned(text: str, name: str = "board.dts") -> Plan:
    """The plan of a devicetree source."""
    return make_plan(dts.read_blob(compile_source(text.encode(), name), name))


@dataclass
class Host:
    """Services over ordinary memory; ``ask`` sends a request, as the doorbell would."""

    plan: Plan
    tally: Tally = field(default_factory=Tally)
    picture: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((*SCREEN, 3), np.uint8))

    def __post_init__(self) -> None:
        self.ram = np.zeros(self.plan.machine.ram_bytes, np.uint8)  # untouched memory costs nothing
        self.model: Model = from_tree(self.plan.tree, self.plan.verdict, PhysicalMemory(self.ram))
        self.area = self.model.areas[self.plan.pool.path]
        self.services = Services(self.plan, self.model, self.ram, self.tally, lambda: self.picture)
        self._sequence = 0

    def try_ask(self, operation: int, *arguments: int, text: str = "") -> Reply | None:
        """The answer, if there is one; it fits the page."""
        self._sequence += 1
        padded = (*arguments, *(0,) * (6 - len(arguments)))
        reply = self.services.handle(Request(self._sequence, operation, padded, text))
        if reply is not None:
            values = (*reply.values, *(0,) * (6 - len(reply.values)))
            protocol.REPLY.pack(self._sequence, reply.status, *values)
            assert (reply.status < 0) == bool(reply.text), reply
        return reply

    def ask(self, operation: int, *arguments: int, text: str = "") -> Reply:
        """The answer; there must be one."""
        reply = self.try_ask(operation, *arguments, text=text)
        assert reply is not None
        return reply

    def refused(self, operation: int, *arguments: int) -> str:
        """Why a request is refused; it must be, and must change nothing."""
        before = self.ask(Op.STATS).values[:3]
        reply = self.ask(operation, *arguments)
        assert reply.status < 0
        assert self.ask(Op.STATS).values[:3] == before
        return reply.text


@pytest.fixture
def planner() -> Callable[..., Plan]:
    """Makes a plan of a devicetree source."""
    return planned


@pytest.fixture
def hosts() -> Callable[..., Host]:
    """Makes a host of a plan, or of a devicetree source."""
    return lambda of, **options: Host(planned(of) if isinstance(of, str) else of, **options)


@pytest.fixture(params=["rpi-4-b", "rpi-3-b"])
def host(request: pytest.FixtureRequest, boards: Path) -> Host:
    """A host for each board."""
    from board import load_plan

    return Host(load_plan(boards / f"{request.param}.dts"))


@pytest.fixture(scope="session")
def small() -> str:
    """A raspi3b with a pool of 4 MiB and all devices: quick to set up."""
    return """/dts-v1/;
/ {
    compatible = "brcm,bcm2837"; #address-cells = <1>; #size-cells = <1>;
    memory@0 { device_type = "memory"; reg = <0x0 0x3c000000>; };
    chosen { };
    reserved-memory {
        #address-cells = <1>; #size-cells = <1>; ranges;
        pool: pool@10000000 {
            compatible = "shared-dma-pool"; reusable; guaranteed; reg = <0x10000000 0x400000>;
        };
    };
    soc {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>;
        ranges = <0x7e000000 0x3f000000 0x01000000>;
        dma-ranges = <0xc0000000 0x0 0x3f000000>;
        dma: dma-controller@7e007000 { compatible = "brcm,bcm2835-dma"; reg = <0x7e007000 0xf00>; };
        uart: serial@7e201000 { compatible = "arm,pl011"; reg = <0x7e201000 0x200>; };
        display: hvs@7e400000 {
            compatible = "brcm,bcm2835-hvs"; reg = <0x7e400000 0x6000>; memory-region = <&pool>;
        };
        camera: csi@7e801000 {
            compatible = "brcm,bcm2835-unicam"; reg = <0x7e801000 0x800>; memory-region = <&pool>;
        };
        codec: codec@7e807000 {
            compatible = "brcm,bcm2835-codec"; reg = <0x7e807000 0x1000>; memory-region = <&pool>;
        };
        v3d: v3d@7ec00000 {
            compatible = "brcm,bcm2835-v3d"; reg = <0x7ec00000 0x1000>; memory-region = <&pool>;
        };
    };
};
"""
