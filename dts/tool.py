"""Outside tools (dtc, cpp, fdtoverlay) run with a deadline and bounded memory, without a shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dts.error import SourceError, ToolError

if TYPE_CHECKING:
    from subprocess import Popen

DEADLINE_S = 20.0
MEMORY_BYTES = 512 << 20
OUTPUT_BYTES = 128 << 20
_PACKAGES = {"dtc": "device-tree-compiler", "fdtoverlay": "device-tree-compiler", "cpp": "cpp"}


def run(command: Sequence[str], data: bytes, directory: str, name: str) -> bytes:
    """What the tool prints for ``data`` on its standard input.

    :param directory: where it runs: relative includes are found from there
    :param name: the user's file, for messages
    :raise SourceError: it refused the input; the message quotes its first complaint
    :raise ToolError: it is not installed, or exceeded its time or memory
    """
    import subprocess
    import tempfile

    tool = command[0]
    if shutil.which(tool) is None:
        package = _PACKAGES.get(tool, tool)
        raise ToolError(
            f"{name}: {tool} is needed to read it and was not found; install the package {package}."
        )
    with tempfile.TemporaryFile() as output:
        try:
            # A session of its own, since cpp starts a compiler that would outlive it.
            process = subprocess.Popen(
                [*_limits(), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.PIPE,
                cwd=directory or ".",
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(
                f"{name}: {tool} could not be started ({error.strerror}); check its installation."
            ) from error
        try:
            _, complaint = process.communicate(data, timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise ToolError(
                f"{name}: {tool} was expected to end within {DEADLINE_S:.0f} s and did not; "
                "look for an include of a pipe or a device."
            ) from None
        finally:
            if process.poll() is None:
                _end(process)
        text = complaint.decode("utf-8", "replace")
        if process.returncode < 0:
            raise ToolError(
                f"{name}: {tool} was ended by signal {-process.returncode}; its limits are "
                f"{MEMORY_BYTES >> 20} MiB of memory and {OUTPUT_BYTES >> 20} MiB of output."
            )
        if process.returncode:
            raise SourceError(f"{name}: {tool} refused it: {_first(text)}")
        output.seek(0)
        return output.read()


def _limits() -> list[str]:
    """The start of a command that bounds memory and output of the rest, also of what that starts."""
    if shutil.which("prlimit") is None:  # util-linux, which only the smallest systems lack
        return []
    return ["prlimit", f"--as={MEMORY_BYTES}", f"--fsize={OUTPUT_BYTES}", "--core=0", "--"]


def _end(process: Popen[bytes]) -> None:
    """End the tool and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(OSError, ValueError):
        process.communicate()


def _first(text: str) -> str:
    """The first error of a tool's output, in one line; the tools print warnings before."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line] or lines
    first = (errors[0] if errors else "it gave no reason").removeprefix("Error: ")
    return first[:400].rstrip(".") + "."
