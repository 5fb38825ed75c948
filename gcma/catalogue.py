"""Boards by name: the trees that come with gcma, and files of one's own."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from dts import InputError


def boards() -> Mapping[str, Path]:
    """The boards that come with gcma, as files to check, boot or copy from, by name."""
    folder = Path(str(resources.files("dts"))) / "boards"
    return {path.stem: path for path in sorted(folder.glob("*.dts"))}


def board_file(name: str, folder: Path) -> Path:
    """The tree that a name stands for: a file, relative to ``folder``, or one of :func:`boards`.

    :raise dts.InputError: neither is there
    """
    path = folder / name
    if path.exists():
        return path
    known = boards()
    if name in known:
        return known[name]
    raise InputError(
        f"{name}: expected a devicetree file in {folder}, or one of the boards that come with gcma "
        f"({', '.join(known)}); found neither"
    )
