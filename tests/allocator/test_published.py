"""The model against the latency table of 2015: its shape, and how far off its figures are."""

import pytest

from allocator.published import PUBLISHED, Row, modelled


@pytest.fixture(scope="module")
def rows() -> dict[int, Row]:
    return {row.pages: row for row in modelled()}


@pytest.fixture(params=["published", "modelled"])
def table(request: pytest.FixtureRequest, rows: dict[int, Row]) -> dict[int, Row]:
    """Each statement on the shape holds for the published table and for ours."""
    return {row.pages: row for row in PUBLISHED} if request.param == "published" else rows


def test_guaranteed_cma_grows_with_the_pages(table: dict[int, Row]) -> None:
    for pages, row in table.items():
        assert row.guaranteed.least == pytest.approx(13 + 1.0 * pages, rel=0.05, abs=2)


def test_the_tail_collapses(table: dict[int, Row]) -> None:
    for pages in (1024, 2048, 4096, 8192, 16384, 32000):
        assert table[pages].cma.most > 10 * table[pages].guaranteed.most
    assert table[512].cma.most < table[512].guaranteed.most


def test_the_averages_cross_after_512_pages(table: dict[int, Row]) -> None:
    assert table[512].cma.mean < table[512].guaranteed.mean
    for pages in (1024, 2048, 4096, 8192, 16384, 32000):
        assert table[pages].cma.mean > 3 * table[pages].guaranteed.mean


def test_cma_at_its_best_is_faster_for_large_requests(table: dict[int, Row]) -> None:
    assert table[1].cma.least > table[1].guaranteed.least
    for pages in (4096, 8192, 16384, 32000):
        assert table[pages].cma.least < table[pages].guaranteed.least


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda row: str(row.pages))
def test_figures(published: Row, rows: dict[int, Row]) -> None:
    ours = rows[published.pages]
    assert published.guaranteed.mean / 2 < ours.guaranteed.mean < published.guaranteed.mean * 1.2
    assert published.cma.mean / 4 < ours.cma.mean < published.cma.mean * 4


def test_a_seed_repeats() -> None:
    assert modelled((1024,), requests=4, seed=3) == modelled((1024,), requests=4, seed=3)
