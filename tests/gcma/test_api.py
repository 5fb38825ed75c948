"""What a program may import from gcma: these names, and nothing before they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gcma

PUBLIC = """
    AllocatorError Assumptions Board BoardError CameraDriver CarveOut Cleancache CmaAllocError
    DisplayDriver DmaDriver DtsError Finding Frame GuaranteedArea GuestError Model PhysicalMemory
    Plan RequestError Revision SAFE Tree Verdict __version__ boards examine from_tree load
    load_plan revision
"""


def test_the_public_names() -> None:
    assert sorted(gcma.__all__) == PUBLIC.split()
    assert set(gcma.__all__) <= set(dir(gcma))


@pytest.mark.parametrize("name", PUBLIC.split())
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(gcma, name)
    assert value.__doc__
    if name not in ("__version__", "SAFE"):
        assert value.__name__ == name


def test_no_module_hides_a_name() -> None:
    """Importing a submodule binds its name in the package, over what stood there."""
    modules = {path.stem for path in Path(gcma.__file__).parent.glob("*.py")}
    assert not modules & set(gcma.__all__)


def test_types_and_lazy_imports_name_the_same_things() -> None:
    """What a type checker sees is what one gets."""
    source = ast.parse(Path(gcma.__file__).read_text())
    guard = next(node for node in source.body if isinstance(node, ast.If))
    typed = {
        alias.name: node.module
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {name: home for home, names in gcma._HOMES.items() for name in names}
    assert {*typed, "__version__"} == set(gcma.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'gcma' has no attribute 'cma_alloc'$"):
        gcma.cma_alloc  # noqa: B018


def test_importing_it_imports_nothing_else() -> None:
    program = (
        "import sys; before = set(sys.modules); import gcma; "
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - {'gcma'})"
    )
    run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True,
                         cwd=Path(gcma.__file__).parent.parent)  # fmt: skip
    imported = ast.literal_eval(run.stdout.replace("set()", "[]"))
    assert not set(imported) - set(sys.stdlib_module_names)


def test_boards_that_come_with_it() -> None:
    assert {"rpi-3-b", "rpi-4-b"} <= set(gcma.boards())
    for path in gcma.boards().values():
        assert gcma.load(path).root.compatible


def test_the_model_without_a_board() -> None:
    import numpy as np

    memory = gcma.PhysicalMemory(np.zeros(64 << 12, np.uint8))
    cleancache = gcma.Cleancache(memory)
    area = gcma.GuaranteedArea("camera", 0, 64, cleancache)
    fs = cleancache.add_fs()
    assert cleancache.put(fs, 1, 0, b"x" * 4096)
    assert area.cma_alloc(64) == 0
    assert not cleancache.get(fs, 1, 0, bytearray(4096))
    with pytest.raises(gcma.CmaAllocError):
        area.cma_alloc(1)
