"""The tools that gcma uses, looked for without starting any of them but for its version."""

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from guest.build import cache_folder, toolchain
from guest.error import NoCompilerError

VERSION_SECONDS: Final = 5.0
PYTHON: Final = (3, 11)
SETUP: Final = "or run scripts/setup in a checkout"


class ToolState(Enum):
    """Whether a tool can be used."""

    OK = "ok"
    MISSING = "missing"
    OLD = "too old"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one tool.

    :ivar version: as it says itself; empty when it is not here
    :ivar needed: gcma's main commands do not work without it
    :ivar remedy: what to do; empty when there is nothing to do
    """

    name: str
    version: str
    state: ToolState
    needed: bool
    purpose: str
    remedy: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it is needed and cannot be used."""
        return self.needed and self.state is not ToolState.OK


@dataclass(frozen=True, slots=True)
class Program:
    """A program to look for on PATH.

    :ivar names: the first that is there counts
    :ivar package: Debian's
    """

    names: tuple[str, ...]
    needed: bool
    purpose: str
    package: str


QEMU: Final = Program(
    ("qemu-system-aarch64",), True, "gcma test, gcma boot, the pytest fixtures", "qemu-system-arm"
)
DTC: Final = Program(("dtc",), True, "reads .dts files, for all commands", "device-tree-compiler")
PROGRAMS: Final = (
    QEMU,
    DTC,
    Program(("cpp",), False, ".dts files with #include", "cpp"),
    Program(("fdtoverlay",), False, "gcma check --overlay", "device-tree-compiler"),
    Program(("setpriv",), False, "ends QEMU at once when gcma itself is killed", "util-linux"),
    Program(("apt-get",), False, "gcma boot --linux: fetches a Debian kernel; --kernel does without", "apt"),
)


def look() -> list[Finding]:
    """Look for everything."""
    # all are started before any is waited for
    asked = [(program, *_ask(program)) for program in (*PROGRAMS, *_compiler())]
    deadline = time.monotonic() + VERSION_SECONDS
    found = [_python(), *_packages()]
    found += [_program(program, path, process, deadline) for program, path, process in asked]
    qemu = next(each for each in found if each.name == QEMU.names[0])
    return [*found, _machines(qemu), *_cached()]


def _compiler() -> Iterable[Program]:
    """The compiler that would build the firmware, with its linker; Debian's where none can."""
    purpose = "builds the guest's firmware, once"
    try:
        tools = toolchain()
    except NoCompilerError:
        yield Program(("aarch64-linux-gnu-gcc",), True, purpose, "gcc-aarch64-linux-gnu")
        yield Program(("aarch64-linux-gnu-objcopy",), True, "the same", "binutils-aarch64-linux-gnu")
        return
    yield Program((tools.compiler[0],), True, purpose, "gcc-aarch64-linux-gnu")
    yield Program((tools.objcopy or "ld.lld",), True, "the same", "binutils-aarch64-linux-gnu")


def _ask(program: Program) -> tuple[str | None, subprocess.Popen[bytes] | None]:
    path = next((path for name in program.names if (path := shutil.which(name))), None)
    if path is None:
        return None, None
    try:
        process = subprocess.Popen(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError:
        process = None
    return path, process


def _program(
    program: Program, path: str | None, process: subprocess.Popen[bytes] | None, deadline: float
) -> Finding:
    install = f"install Debian's {program.package}, {SETUP}"
    if path is None:
        name = program.names[0]
        return Finding(name, "", ToolState.MISSING, program.needed, program.purpose, install)
    text, ok = "", False
    if process is not None:
        try:
            text = process.communicate(timeout=max(0.1, deadline - time.monotonic()))[0].decode(
                errors="replace"
            )
            ok = process.returncode == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    match = re.search(r"\d+(\.\d+)+", text)
    state = ToolState.OK if ok and match else ToolState.BROKEN
    remedy = "" if state is ToolState.OK else f"{path} --version does not answer: {install}"
    version = match[0] if match else ""
    return Finding(Path(path).name, version, state, program.needed, program.purpose, remedy)


def _python() -> Finding:
    old = sys.version_info < PYTHON
    wanted = ".".join(map(str, PYTHON))
    return Finding(
        "python",
        platform.python_version(),
        ToolState.OLD if old else ToolState.OK,
        True,
        f"{wanted} or newer",
        f"install Python {wanted}" if old else "",
    )


def _packages() -> Iterable[Finding]:
    """What gcma's own metadata asks for; extras and markers left out."""
    try:
        wanted = importlib.metadata.requires("gcma") or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    for line in wanted:
        name = re.match(r"[\w.-]+", line)
        if name is None or ";" in line:
            continue
        try:
            yield Finding(name[0], importlib.metadata.version(name[0]), ToolState.OK, True, "Python package")
        except importlib.metadata.PackageNotFoundError:
            remedy = f"{sys.executable} -m pip install '{line}'"
            yield Finding(name[0], "", ToolState.MISSING, True, "Python package", remedy)


def _machines(qemu: Finding) -> Finding:
    """Which of our boards this QEMU has the machines for."""
    purpose = "QEMU machines that can be booted"
    try:
        from board.machine import MACHINES
    except ImportError as error:
        return Finding("boards", "", ToolState.BROKEN, True, purpose, f"install the packages first: {error}")
    version = tuple(int(part) for part in qemu.version.split(".")[:2]) if qemu.version else (0, 0)
    usable = [m for m in MACHINES if qemu.state is ToolState.OK and m.qemu_since <= version]
    missing = [m for m in MACHINES if m not in usable]
    remedy = ""
    if missing:
        newest = max(m.qemu_since for m in missing)
        names = ", ".join(m.name for m in missing)
        remedy = f"{names}: QEMU {'.'.join(map(str, newest))} or newer; in Debian 12 from bookworm-backports"
    state = ToolState.OK if not missing else ToolState.OLD if usable else ToolState.MISSING
    return Finding("boards", ", ".join(m.name for m in usable), state, not usable, purpose, remedy)


def _cached() -> Iterable[Finding]:
    """What was built and fetched before."""
    folder = cache_folder()
    purposes = {
        "firmware": ("firmware-*.Image", "the program in the guest", "built on first use"),
        "kernel": (
            "linux/linux-[bi][im]*",
            "gcma boot --linux, gcma check --against-linux",
            "fetched on first use",
        ),
    }
    for name, (pattern, purpose, remedy) in purposes.items():
        found = [re.search(r"\d+(\.\d+)+", path.name) for path in folder.glob(pattern)]
        versions = sorted({match[0] if match else "?" for match in found})
        if not versions:
            yield Finding(name, "", ToolState.MISSING, False, purpose, remedy)
        else:
            version = ", ".join(versions) if name == "kernel" else "built"
            yield Finding(name, version, ToolState.OK, False, f"{purpose}, in {folder}")
