"""Differences: two ready models, compared once."""

import pytest

from app.domain.differences import ChangedSong, NamedSong, NeighbourDifference
from app.domain.errors import Conflict, InvalidRequest
from app.domain.models import IndexFacts, Model
from app.domain.neighbour_tables import TableFacts
from app.services.differences import N_KEPT, DifferenceService, Kept
from tests.services.conftest import N_NEIGHBOURS, House
from tests.services.test_models import completed_study


class Compared:
    """Three songs, each changed."""

    def __init__(self, k: int) -> None:
        self.summary = NeighbourDifference(k=k, n_common=3, n_only_one=0, n_only_other=0, overlap=0.5)

    def changed(self, *, start: int, limit: int) -> list[ChangedSong]:
        songs = [NamedSong(song_id=name, title=None, artist=None) for name in "abc"]
        return [ChangedSong(song=song, n_plays=1, overlap=0.5) for song in songs][start : start + limit]


class Comparing:
    """Notes which folders it was given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.tables: list[tuple[str | None, ...]] = []

    def __call__(self, one: Kept, other: Kept, /, *, k: int, segment_column: str | None) -> Compared:
        assert segment_column is None
        self.asked.append((one.files.name, other.files.name, k))
        self.tables.append(tuple(None if each.table is None else each.table.name for each in (one, other)))
        return Compared(k)


def built(house: House, study_id: str, n_neighbours: int = 64) -> Model:
    house.models.promote(study_id)
    work = house.models.claim("worker")
    assert work is not None
    index = IndexFacts(kind="flat", n_songs=500, dim=2, n_neighbours=n_neighbours, recall=1.0)
    return house.models.complete(work.claim, staged=house.staged(), index=index)


def test_pages_follow_each_other_and_a_pair_is_compared_once(house: House) -> None:
    study_id = completed_study(house)
    one, other = built(house, study_id), built(house, study_id)
    comparing = Comparing()
    service = DifferenceService(house.units, store=house.store, compare=comparing)
    first = service.of(one.id, against=other.id, k=10, limit=2)
    assert [each.song.song_id for each in first.page.rows] == ["a", "b"]
    assert first.page.next_cursor == "2"
    last = service.of(one.id, against=other.id, k=10, limit=2, start=2)
    assert ([each.song.song_id for each in last.page.rows], last.page.next_cursor) == (["c"], None)
    assert service.of(one.id, against=other.id, k=10, limit=2, start=9).page.next_cursor is None
    assert comparing.asked == [(f"{one.id}-1", f"{other.id}-1", 10)]
    for k in range(1, N_KEPT + 1):
        service.of(one.id, against=other.id, k=k, limit=1)
    service.of(one.id, against=other.id, k=10, limit=2)
    assert len(comparing.asked) == N_KEPT + 2


def test_only_ready_models_with_so_many_neighbours_are_compared(house: House) -> None:
    study_id = completed_study(house)
    one, few = built(house, study_id), built(house, study_id, n_neighbours=4)
    service = DifferenceService(house.units, store=house.store, compare=Comparing())
    with pytest.raises(InvalidRequest, match="keeps 4 neighbours"):
        service.of(one.id, against=few.id, k=5, limit=1)
    waiting = house.models.promote(study_id)
    assert isinstance(waiting, Model)
    with pytest.raises(Conflict, match="building"):
        service.of(waiting.id, against=one.id, k=5, limit=1)


def test_a_table_that_was_built_later_counts_as_the_models_neighbours(house: House) -> None:
    study_id = completed_study(house)
    one, later = built(house, study_id), built(house, study_id, n_neighbours=0)
    comparing = Comparing()
    service = DifferenceService(house.units, store=house.store, compare=comparing)
    with pytest.raises(InvalidRequest, match="keeps 0 neighbours"):
        service.of(later.id, against=one.id, k=5, limit=1)
    work = house.tables.claim("worker")
    assert work is not None
    facts = TableFacts(n_songs=500, n_neighbours=N_NEIGHBOURS, recall=1.0)
    house.tables.complete(work.claim, staged=house.staged(), facts=facts)

    service.of(later.id, against=one.id, k=5, limit=1)

    assert comparing.tables == [(f"{work.table.id}-1", None)]
    with pytest.raises(InvalidRequest, match=f"keeps {N_NEIGHBOURS} neighbours"):
        service.of(later.id, against=one.id, k=N_NEIGHBOURS + 1, limit=1)
