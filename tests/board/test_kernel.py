"""Kernels: which file is one, and how Debian's get here."""

import gzip
import struct
import subprocess
from pathlib import Path

import pytest

import board.package
from board.kernel import KERNELS, KernelError, choose_kernel
from board.package import Package, PackageError, fetch

PACKAGE = Package("linux-test", "some-suite", "boot/Image")


def image(size: int = 0x345678, offset: int = 0, magic: int = 0x644D5241) -> bytes:
    return struct.pack("<8xQQ32xI4x", offset, size, magic) + b"code"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gcma"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that knows one mirror and serves what lies in a folder."""
    tools, served = tmp_path / "tools", tmp_path / "served"
    tools.mkdir()
    served.mkdir()
    script = tools / "apt-get"
    script.write_text(
        f"""#!/bin/sh
echo "$@" >>{tmp_path}/calls
case "$*" in
*indextargets*) cat {tmp_path}/targets ;;
*update*) if [ -e {tmp_path}/offline ]; then echo "W: Failed to fetch nowhere" >&2; fi ;;
*download*) cp {served}/*.deb . || {{ echo "E: Unable to locate package linux-test" >&2; exit 100; }} ;;
esac
"""
    )
    script.chmod(0o755)
    (tmp_path / "targets").write_text("http://mirror.test/debian Debian\nhttp://mirror.test/other Other\n")
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    return tmp_path


def serve(apt: Path, member: str, data: bytes) -> None:
    tree = apt / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: linux-test\nVersion: 1\nArchitecture: arm64\nMaintainer: nobody <nobody@example.org>\n"
        "Description: test\n"
    )
    (tree / "DEBIAN" / "preinst").write_text(f"#!/bin/sh\ntouch {apt}/ran\n")
    (tree / "DEBIAN" / "preinst").chmod(0o755)
    (tree / member).parent.mkdir(parents=True)
    (tree / member).write_bytes(data)
    subprocess.run(
        ["dpkg-deb", "-b", str(tree), str(apt / "served" / "x.deb")], check=True, capture_output=True
    )


def test_an_image_and_its_size(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(image())
    assert choose_kernel(str(path)).memory_bytes == 0x345678


def test_a_packed_image(tmp_path: Path) -> None:
    path = tmp_path / "Image.gz"
    path.write_bytes(gzip.compress(image()))
    assert choose_kernel(str(path)).memory_bytes == 0x345678


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected an arm64 Image"),
        (b"MZ" + bytes(100), "expected an arm64 Image"),
        (image(magic=0x12345678), "expected an arm64 Image"),
        (gzip.compress(b"no kernel"), "expected an arm64 Image"),
        (gzip.compress(image())[:20], "cannot be read as a kernel"),
        (gzip.compress(image())[:10] + bytes([7] * 40), "cannot be read as a kernel"),
        (image(offset=0x80000), "expected text_offset 0"),
        (image(size=0), "expected text_offset 0"),
    ],
    ids=["empty", "EFI", "magic", "packed text", "packed and cut", "packed and broken", "offset", "size"],
)
def test_what_is_no_image(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(KernelError, match=words) as caught:
        choose_kernel(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cannot be read as a kernel"):
        choose_kernel(str(tmp_path / "none"))


@pytest.mark.usefixtures("cache")
def test_a_package_is_fetched_once(apt: Path) -> None:
    serve(apt, "boot/Image", image())
    path = fetch(PACKAGE)
    assert path.read_bytes() == image()
    assert not (apt / "ran").exists()  # the package's scripts do not run
    calls = (apt / "calls").read_text()
    assert "http://mirror.test/debian" not in calls  # the mirror stands in a file
    assert calls.count("update") == 1
    assert fetch(PACKAGE) == path
    assert (apt / "calls").read_text() == calls
    assert [item.name for item in path.parent.iterdir()] == ["Image"]


@pytest.mark.usefixtures("cache")
def test_a_folder_of_a_package(apt: Path) -> None:
    serve(apt, "usr/src/headers/include/a.h", b"#define A\n")
    (apt / "tree/usr/src/headers/link").symlink_to("/etc/passwd")
    folder = fetch(Package("linux-test", "some-suite", "usr/src/headers/"))
    assert folder.name == "headers"
    assert (folder / "include" / "a.h").read_bytes() == b"#define A\n"
    assert [item.name for item in folder.iterdir()] == ["include"]


@pytest.mark.usefixtures("cache")
def test_two_fetches_of_a_folder_at_once(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one finds the folder there when it would put its own in that place."""
    package = Package("linux-test", "some-suite", "usr/src/headers/")
    serve(apt, "usr/src/headers/a.h", b"#define A\n")
    extract = board.package._extract

    def slow(of: Package, archive: Path, target: Path) -> Path:
        path = extract(of, archive, target)
        monkeypatch.setattr("board.package._extract", extract)
        fetch(package)
        return path

    monkeypatch.setattr("board.package._extract", slow)
    assert fetch(package) == package.file
    assert [path.name for path in package.file.iterdir()] == ["a.h"]
    assert list(package.file.parent.iterdir()) == [package.file], "the slower one cleaned up"


def test_apt_stays_in_the_cache(apt: Path, cache: Path) -> None:
    serve(apt, "boot/Image", image())
    fetch(PACKAGE)
    for line in (apt / "calls").read_text().splitlines():
        if "download" in line or "update" in line:
            for name in ("Dir::State", "Dir::State::status", "Dir::Cache", "Dir::Etc::SourceList"):
                value = line.split(f"{name}=")[1].split()[0]
                assert value.startswith(str(cache))


@pytest.mark.usefixtures("cache")
def test_a_package_without_the_file(apt: Path) -> None:
    serve(apt, "boot/other", b"")
    with pytest.raises(PackageError, match="expected boot/Image of at most 256 MiB in it, found none"):
        fetch(PACKAGE)


@pytest.mark.usefixtures("cache")
def test_a_package_that_is_gone(apt: Path) -> None:
    with pytest.raises(PackageError) as caught:
        fetch(PACKAGE)
    assert str(caught.value) == (
        "linux-test: it is not in the cache, and apt cannot fetch it: Unable to locate package linux-test"
    )


@pytest.mark.usefixtures("cache")
def test_without_a_network(apt: Path) -> None:
    (apt / "offline").touch()
    with pytest.raises(PackageError, match="apt cannot fetch it: Failed to fetch nowhere"):
        fetch(PACKAGE)


@pytest.mark.usefixtures("cache")
def test_without_a_debian_mirror(apt: Path) -> None:
    (apt / "targets").write_text("http://mirror.test/ubuntu Ubuntu\n")
    with pytest.raises(PackageError, match="apt sources name no Debian mirror"):
        fetch(PACKAGE)


@pytest.mark.usefixtures("cache")
def test_without_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError) as caught:
        choose_kernel(None)
    assert str(caught.value) == (
        f"no Linux kernel at hand: {KERNELS['7.3'].name}: it is not in the cache and cannot be fetched, "
        "because apt-get is not on PATH; give one with --kernel Image"
    )
