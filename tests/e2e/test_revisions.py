"""The posted revisions' hazards, with real bytes on the board: old pages in v2, none in safe."""

from pathlib import Path

import pytest

from allocator import revision
from board import Result, TestRun, load_plan
from board.testrun import ALL_TESTS

pytestmark = pytest.mark.qemu

HAZARDS = [test for test in ALL_TESTS if test.id.startswith("hazard.")]
WHAT = {
    "hazard.truncate": "truncate",
    "hazard.direct-write": "direct write",
    "hazard.large-folio": "large folio",
}
STALE = {
    "rfc": {"hazard.large-folio"},
    "v1": set(WHAT),
    "v2": set(WHAT),
    "safe": set(),
}


@pytest.mark.parametrize("name", STALE)
def test_old_pages_come_back_where_the_revision_drops_too_little(name: str, pi3: Path) -> None:
    run = TestRun(load_plan(pi3), revision=revision(name))
    results = list(run.run(HAZARDS, lambda _: None))
    assert [result.result for result in results] == [Result.PASSED] * 3
    for result in results:
        what = WHAT[result.id]
        if result.id in STALE[name]:
            assert (
                result.message == f"as expected of this revision: 64 of 64 old pages came back after a {what}"
            )
        else:
            assert result.message == f"after a {what} no old page comes back"
    assert run.tally.stale_reads == 64 * len(STALE[name])
