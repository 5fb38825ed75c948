"""The archive, read back by a reader of its own."""

import stat

from hypothesis import given
from hypothesis import strategies as st

from board.initramfs import Entry, archive

NAMES = st.text("abcdefghijklmnop-_.", min_size=1, max_size=20)


def read(data: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    """The entries by the format's description: 6 bytes of magic, 13 fields of 8 hex digits, name, data."""
    out = []
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        assert data[at + 110 + fields[11] - 1] == 0
        at = -(-(at + 110 + fields[11]) // 4) * 4
        content = data[at : at + fields[6]]
        at = -(-(at + fields[6]) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(data)
            return out
        out.append((name, fields[1], content, (fields[9], fields[10])))


def test_all_kinds() -> None:
    entries = [
        Entry.folder("dev"),
        Entry.character_device("dev/console", 5, 1),
        Entry.program("init", b"\x7fELF..."),
    ]
    assert read(archive(entries)) == [
        ("dev", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
        ("init", stat.S_IFREG | 0o755, b"\x7fELF...", (0, 0)),
    ]


@given(st.lists(st.tuples(NAMES, st.binary(max_size=40))))
def test_any_names_and_sizes_come_back(files: list[tuple[str, bytes]]) -> None:
    data = archive(Entry.program(name, content) for name, content in files)
    assert len(data) % 4 == 0
    assert [(name, content) for name, _, content, _ in read(data)] == files


def test_the_same_files_give_the_same_bytes() -> None:
    entries = [Entry.folder("a"), Entry.program("a/b", b"c")]
    assert archive(entries) == archive(entries)
