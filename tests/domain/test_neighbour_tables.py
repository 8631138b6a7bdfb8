"""When a model's neighbours are computed."""

import pytest

from app.domain.models import IndexLimits, TableTiming
from app.domain.neighbour_tables import limits_for

LIMITS = IndexLimits(neighbours_kept=8, table_up_to=100)


@pytest.mark.parametrize(("n_songs", "n_stored"), [(1, 0), (5, 4), (100, 8), (101, 0)])
def test_by_size_neighbours_are_stored_with_few_songs_alone(n_songs: int, n_stored: int) -> None:
    assert limits_for(None, LIMITS).stored(n_songs=n_songs) == n_stored


def test_now_stores_them_however_many_songs_there_are() -> None:
    assert limits_for(TableTiming.NOW, LIMITS).stored(n_songs=10**9) == 8


@pytest.mark.parametrize("timing", [TableTiming.AFTER, TableTiming.OFF])
def test_after_and_off_store_none_however_few_songs_there_are(timing: TableTiming) -> None:
    assert limits_for(timing, LIMITS).stored(n_songs=2) == 0


def test_when_they_are_computed_changes_no_other_limit() -> None:
    assert limits_for(TableTiming.NOW, LIMITS) == IndexLimits(neighbours_kept=8)
