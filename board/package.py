"""Files out of Debian's arm64 packages, through the system's own package client.

apt runs with folders of its own below the cache: the system's packages, lists and
architectures stay as they are, and no root is needed. The mirror is the one that the
system's sources name; apt checks every download against the signed index.
"""

import contextlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from board.error import BoardError
from guest.build import cache_folder

ARCHITECTURE: Final = "arm64"
UPDATE_SECONDS: Final = 180
DOWNLOAD_SECONDS: Final = 900
MEMBER_BYTES: Final = 256 << 20
_KEYRINGS: Final = tuple(
    Path(f"/usr/share/keyrings/debian-archive-keyring.{suffix}") for suffix in ("pgp", "gpg")
)


class PackageError(BoardError):
    """A package cannot be had. Usual causes: no network, no apt, a version that the mirror dropped."""


@dataclass(frozen=True, slots=True)
class Package:
    """A binary package of Debian.

    :ivar name: its name; a kernel's holds the version, which pins it
    :ivar suite: the suite that serves it
    :ivar member: the wanted file in it, without a leading slash; with one at its end a folder
    :ivar only: of a folder, just the files of these names
    """

    name: str
    suite: str
    member: str
    only: frozenset[str] = frozenset()

    @property
    def file(self) -> Path:
        """Where the file or folder is kept once it was fetched."""
        return cache_folder() / "linux" / self.name / Path(self.member).name


def fetch(package: Package) -> Path:
    """The wanted file or folder of a package, downloaded now if it is not in the cache.

    :raise PackageError: there is no apt, no Debian mirror, no network, or no such package
    """
    if package.file.exists():
        return package.file
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise PackageError(
                f"{package.name}: it is not in the cache and cannot be fetched, because {tool} is not on PATH"
            )
    try:
        package.file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=package.file.parent) as name:
            folder = Path(name)
            archive = _download(package, folder)
            # complete or not there at all
            _extract(package, archive, folder / "file").replace(package.file)
    except OSError as error:
        if package.file.exists():  # another fetch was faster: a folder does not take a full one's place
            return package.file
        raise PackageError(
            f"{package.file.parent}: {package.name} cannot be kept there: {error.strerror or error}"
        ) from error
    return package.file


def _download(package: Package, folder: Path) -> Path:
    mirrors = _mirrors()
    if not mirrors:
        raise PackageError(
            f"{package.name}: it is not in the cache, and the system's apt sources name no Debian mirror "
            "to fetch it from"
        )
    reason = ""
    for mirror in mirrors:
        options = _private(folder / "apt", mirror, package.suite)
        try:
            _apt([*options, "update"], folder, UPDATE_SECONDS)
            _apt([*options, "download", package.name], folder, DOWNLOAD_SECONDS)
        except PackageError as error:
            reason = reason or str(error)
            continue
        for archive in folder.glob("*.deb"):
            return archive
    raise PackageError(f"{package.name}: it is not in the cache, and apt cannot fetch it: {reason}")


def _mirrors() -> list[str]:
    """Where Debian's packages come from on this system."""
    text = _apt(
        ["indextargets", "--format", "$(REPO_URI) $(ORIGIN)", "Created-By: Packages"],
        Path("/"),
        UPDATE_SECONDS,
    )
    out: list[str] = []
    for line in text.splitlines():
        address, _, origin = line.partition(" ")
        # without downloaded lists apt does not know the origin, but the folder has been /debian ever since
        if origin == "Debian" or re.search(r"/debian/?$", address):
            out.append(address)
    return [address for address in dict.fromkeys(out) if not re.search(r"-security/?$", address)]


def _private(folder: Path, mirror: str, suite: str) -> list[str]:
    """Options of apt that keep it inside a folder."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    key = next((f" signed-by={path}" for path in _KEYRINGS if path.exists()), "")
    sources = folder / "sources.list"
    sources.write_text(f"deb [arch={ARCHITECTURE}{key}] {mirror} {suite} main\n")
    settings = {
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Sandbox::User": "root",  # apt's own user has no access to a cache in a home folder
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Dir::State": f"{folder}/state",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "Dir::Etc::SourceList": str(sources),
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Preferences": "-",
        "Dir::Etc::PreferencesParts": "-",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def _apt(arguments: list[str], folder: Path, seconds: int) -> str:
    """Run apt-get; what it printed.

    :raise PackageError: with the first error it told
    """
    try:
        run = subprocess.run(
            ["apt-get", "-q", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise PackageError(f"apt-get {arguments[-1]} did not end in {seconds} s") from None
    # apt ends well from an update that could not reach the mirror
    errors = re.findall(r"^(?:E|W): (.*)", run.stderr, re.MULTILINE)
    failed = run.returncode or (arguments[-1] == "update" and "Failed to fetch" in run.stderr)
    if failed:
        raise PackageError(errors[0] if errors else f"apt-get ended with exit status {run.returncode}")
    return run.stdout


def _extract(package: Package, archive: Path, target: Path) -> Path:
    """One file or folder out of a .deb; the package's own scripts never run, links are left out."""
    whole = package.member.endswith("/")
    left = MEMBER_BYTES
    with _data(archive) as data:
        for member in data:
            name = member.name.removeprefix("./")
            if not member.isfile() or not (
                name.startswith(package.member) if whole else name == package.member
            ):
                continue
            inside = PurePosixPath(name.removeprefix(package.member))
            if package.only and inside.name not in package.only:
                continue
            left -= member.size
            source = data.extractfile(member)
            if source is None or left < 0 or ".." in inside.parts:
                break
            path = target / inside if whole else target
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                shutil.copyfileobj(source, out)
            if not whole:
                return target
        else:
            if target.exists():
                return target
    limit = MEMBER_BYTES >> 20
    raise PackageError(
        f"{archive.name}: expected {package.member} of at most {limit} MiB in it, found none or more"
    )


@contextlib.contextmanager
def _data(archive: Path) -> Iterator[tarfile.TarFile]:
    process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as data:
            yield data
    except tarfile.TarError as error:
        raise PackageError(f"{archive.name}: not a Debian package: {error}") from error
    finally:
        process.kill()
        process.communicate()
