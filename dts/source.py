"""Reading a file: a blob, or source through cpp and dtc, with overlays applied."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dts import tool
from dts.blob import MAGIC, read_blob
from dts.error import SourceError
from dts.file import read_file
from dts.place import SourceMap
from dts.tree import Node, Tree

_DIRECTIVE = re.compile(
    rb"^[ \t]*#[ \t]*(?:include|define|undef|if|ifdef|ifndef|else|elif|endif|error)\b", re.M
)


def load(path: str | os.PathLike[str], overlays: Sequence[str | os.PathLike[str]] = ()) -> Tree:
    """The tree of a ``.dts`` or ``.dtb`` file, told apart by content; overlays are applied in order.

    :param path: ``-`` is standard input
    :raise InputError: unreadable, too large, no regular file, not a devicetree
    :raise ToolError: dtc, cpp or fdtoverlay is missing or did not end
    """
    name = os.fspath(path)
    base, source = _blob(name, symbols=bool(overlays))
    if not overlays:
        tree = read_blob(base, name)
        tree.sources = (source,) if source is not None else ()
        return tree
    names = [os.fspath(overlay) for overlay in overlays]
    added = [_blob(overlay, symbols=True) for overlay in names]
    for overlay, (blob, _) in zip(names, added, strict=True):
        base = _applied(base, blob, name, overlay)
    tree = read_blob(base, name)
    symbols = tree.find("/__symbols__")
    sources = [] if source is None else [source]
    for overlay, (blob, text) in zip(names, added, strict=True):
        if text is not None:
            sources.append(replace(text, mounts=_mounts(read_blob(blob, overlay), symbols)))
    tree.sources = tuple(sources)
    return tree


def _applied(base: bytes, overlay: bytes, name: str, overlay_name: str) -> bytes:
    """The base with an overlay applied by fdtoverlay."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gcma-") as directory:
        Path(directory, "base").write_bytes(base)
        Path(directory, "overlay").write_bytes(overlay)
        try:
            tool.run(["fdtoverlay", "-i", "base", "-o", "result", "overlay"], b"", directory, overlay_name)
        except SourceError as error:
            reason = re.search(r"FDT_ERR_\w+", str(error))
            raise SourceError(
                f"{overlay_name}: it should apply to {name} and does not "
                f"({reason[0] if reason else 'no reason given'}); "
                "check that the base has the labels and paths it refers to, and was built with dtc -@."
            ) from error
        return Path(directory, "result").read_bytes()


def _blob(name: str, *, symbols: bool) -> tuple[bytes, SourceMap | None]:
    """The blob of a file, and the map of its source when it is source."""
    data = read_file(name)
    if data[:4] == MAGIC:
        return data, None
    text = preprocessed(data, name)
    return compiled(text, name, symbols=symbols), SourceMap(name, text)


def _mounts(overlay: Tree, symbols: Node | None) -> tuple[tuple[str, str], ...]:
    """Where an overlay's nodes went: (path in the overlay, path in the base) of each fragment."""
    targets = {}
    fixups = overlay.find("/__fixups__")
    for label in fixups.properties if fixups is not None and symbols is not None else ():
        assert fixups is not None
        assert symbols is not None
        for reference in fixups.strings(label):
            path, _, name = reference.rpartition(":")[0].rpartition(":")
            if name == "target" and label in symbols.properties:
                targets[path] = symbols.string(label)
    out = []
    for fragment in overlay.root.children:
        target = targets.get(fragment.path)
        if "target-path" in fragment.properties:
            target = fragment.string("target-path")
        if target is not None and fragment.child("__overlay__") is not None:
            out.append((f"{fragment.path}/__overlay__", target.rstrip("/")))
    return tuple(out)


def compile_source(data: bytes, name: str) -> bytes:
    """The blob of a source text.

    :raise SourceError: cpp or dtc refused it
    """
    return compiled(preprocessed(data, name), name)


def compiled(text: bytes, name: str, *, symbols: bool = False) -> bytes:
    """The blob of a preprocessed text.

    :param symbols: keep labels in the blob, so that overlays can refer to them
    :raise SourceError: dtc refused it
    """
    command = ["dtc", "-q", "-I", "dts", "-O", "dtb", *(["-@"] if symbols else []), "-"]
    return tool.run(command, text, os.path.dirname(name), name)  # noqa: PTH120  "" stays ""


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
    text = b'#line 1 "' + quoted + b'"\n' + data
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
