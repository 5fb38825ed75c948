"""Reading a file: a blob, or source through cpp and dtc, with overlays applied."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dts import tool
from dts.blob import MAGIC, MAX_BYTES, read_blob
from dts.error import InputError, SourceError
from dts.tree import Tree

_DIRECTIVE = re.compile(
    rb"^[ \t]*#[ \t]*(?:include|define|undef|if|ifdef|ifndef|else|elif|endif|error)\b", re.M
)


def load(path: str | os.PathLike[str], overlays: Sequence[str | os.PathLike[str]] = ()) -> Tree:
    """The tree of a ``.dts`` or ``.dtb`` file, told apart by content; overlays are applied in order.

    :raise InputError: unreadable, too large, no regular file, not a devicetree
    :raise ToolError: dtc, cpp or fdtoverlay is missing or did not end
    """
    name = os.fspath(path)
    data = read_file(name)
    if not overlays:
        return read_blob(data if data[:4] == MAGIC else compile_source(data, name), name)
    base = data if data[:4] == MAGIC else compile_source(data, name, symbols=True)
    with tempfile.TemporaryDirectory(prefix="gcma-") as directory:
        files = []
        for index, item in enumerate((base, *(_overlay_blob(os.fspath(overlay)) for overlay in overlays))):
            file = Path(directory, str(index))
            file.write_bytes(item)
            files.append(str(file))
        result = Path(directory, "result")
        label = " + ".join([name, *(os.fspath(overlay) for overlay in overlays)])
        tool.run(["fdtoverlay", "-i", files[0], "-o", str(result), *files[1:]], b"", directory, label)
        return read_blob(result.read_bytes(), name)


def _overlay_blob(name: str) -> bytes:
    data = read_file(name)
    return data if data[:4] == MAGIC else compile_source(data, name, symbols=True)


def read_file(name: str) -> bytes:
    """The bytes of a regular file of bounded size; opening a pipe or a device never blocks.

    :raise InputError: see above
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{name}: it cannot be read ({reason}); give the path of a .dts or .dtb file."
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                f"{name}: a regular file was expected, this is none; give the path of a .dts or .dtb file."
            )
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{name}: at most {MAX_BYTES >> 20} MiB are read, the file has {status.st_size >> 20} MiB; "
                "check that it is a devicetree."
            )
        try:
            return file.read(MAX_BYTES)
        except OSError as error:
            raise InputError(f"{name}: it cannot be read ({error.strerror}); check the disk.") from error


def compile_source(data: bytes, name: str, *, symbols: bool = False) -> bytes:
    """The blob of a source text.

    :param symbols: keep labels in the blob, so that overlays can refer to them
    :raise SourceError: cpp or dtc refused it
    """
    directory, _ = os.path.split(name)
    command = ["dtc", "-q", "-I", "dts", "-O", "dtb", *(["-@"] if symbols else []), "-"]
    return tool.run(command, preprocessed(data, name), directory, name)


def preprocessed(data: bytes, name: str) -> bytes:
    """The text for dtc, with line markers that name files relative to the directory of ``name``."""
    if not data.strip():
        raise SourceError(f"{name}: a devicetree source was expected, the file is empty.")
    if b"\0" in data:
        raise SourceError(
            f"{name}: a devicetree blob or source was expected; it has no blob's magic, and NUL bytes."
        )
    directory, base = os.path.split(name)
    quoted = os.fsencode(base).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    text = b'# 1 "' + quoted + b'"\n' + data
    if not _DIRECTIVE.search(data):
        return text
    command = ["cpp", "-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp"]
    for include in include_directories(directory):
        command += ["-I", include]
    return tool.run([*command, "-"], text, directory, name)


def include_directories(directory: str) -> list[str]:
    """Where ``<dt-bindings/...>`` may lie: the ``include`` directories of a kernel tree around the file."""
    start = Path(directory or ".").resolve()
    out = [str(start)]
    for place in (start, *start.parents):
        for part in ("include", "scripts/dtc/include-prefixes"):
            if (place / part / "dt-bindings").is_dir():
                out.append(str(place / part))
    return out
