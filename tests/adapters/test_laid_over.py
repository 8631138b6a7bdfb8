"""What the catalogue says is seen in every list; the model beneath stays as it is."""

import json

import numpy as np
import pytest

from app.adapters.laid_over import LaidOverModel
from app.domain.catalogue import CatalogueSong, Denial, SongWords
from app.domain.filtering import SongFilter
from app.domain.serving import LiveModel
from tests.services.player import N_SONGS, angle_model
from tests.values import NOON

NONE = np.empty(0, dtype=np.int64)


def said(song_id: str, **words: object) -> CatalogueSong:
    return CatalogueSong(song_id=song_id, revision=1, updated_at=NOON, said=SongWords(**words))  # type: ignore[arg-type]


def denied(song_id: str) -> CatalogueSong:
    return CatalogueSong(song_id=song_id, revision=1, updated_at=NOON, denial=Denial(reason="rights", denied_at=NOON))


def new(song_id: str, **beside: int) -> CatalogueSong:
    return CatalogueSong(song_id=song_id, revision=1, updated_at=NOON, beside=beside, beside_source="given")


def laid(*songs: CatalogueSong) -> LaidOverModel:
    return LaidOverModel(angle_model(), songs)


def near(model: LiveModel, song_id: str, k: int) -> list[str]:
    row = model.row(song_id)
    assert row is not None
    return [song["song_id"] for song in model.neighbours(row, k)]


def test_a_model_that_nothing_touches_says_so() -> None:
    assert not laid(said("elsewhere", title="T"), denied("elsewhere"), new("x", elsewhere=1)).is_touched
    assert laid(denied("s1")).is_touched
    assert laid(said("s1", title="T")).is_touched
    assert laid(new("x", s1=1)).is_touched


def test_a_denied_song_is_in_no_list_and_lists_stay_full() -> None:
    model = laid(denied("s1"), denied("s2"))

    assert near(model, "s0", 3) == ["s3", "s4", "s5"]
    vector = model.query_rows(np.array([0]))[0]
    assert model.search(vector, 4)[0].tolist() == [0, 3, 4, 5]
    assert model.search(vector, N_SONGS)[0].tolist() == [0, *range(3, N_SONGS), -1, -1]
    assert model.search_within(vector, 2, wanted=SongFilter.parsed(["artist=Björk"]), excluded=NONE)[0].tolist() == [
        3,
        5,
    ]
    assert model.popular_within(3, wanted=SongFilter(), excluded=NONE).tolist() == [0, 3, 4]
    assert model.find("title", start=0, limit=3) == [0, 3, 4]
    assert model.find("title 1", start=0, limit=9) == [10, 11]
    assert model.song(1).is_denied
    assert not model.song(0).is_denied


def test_most_songs_may_be_denied() -> None:
    model = laid(*(denied(f"s{row}") for row in range(1, N_SONGS - 1)))

    assert near(model, "s0", 5) == [f"s{N_SONGS - 1}"]
    assert model.search(model.query_rows(np.array([0]))[0], 1)[0].tolist() == [0]


def test_a_denied_song_has_neighbours_itself() -> None:
    assert near(laid(denied("s3")), "s3", 2) == ["s2", "s4"]


def test_names_columns_and_artists_are_those_of_the_catalogue() -> None:
    model = laid(
        said("s4", title="Jóga", artist="Björk", details={"language": "is", "year": 1997}), said("s6", artist="Ó")
    )

    assert model.names(4) == ("s4", "Jóga", "Björk")
    assert model.neighbours(5, 1)[0] == {
        "song_id": "s4",
        "title": "Jóga",
        "artist": "Björk",
        "score": pytest.approx(0.981959, abs=1e-5),
    }
    assert model.song(4).details == {**angle_model().song(4).details, "language": "is", "year": 1997}
    assert model.columns == tuple(dict.fromkeys([*angle_model().columns, "language", "year"]))
    assert model.find("joga bjork", start=0, limit=5) == [4]
    assert model.find("title 4", start=0, limit=5) == []
    assert model.find("title", start=4, limit=3) == [5, 6, 7]
    vector = model.query_rows(np.array([0]))[0]
    found, _ = model.search_within(vector, 5, wanted=SongFilter.parsed(["year=1997"]), excluded=NONE)
    assert found.tolist() == [4]
    found, _ = model.search_within(vector, 3, wanted=SongFilter.parsed(["artist=Björk"]), excluded=NONE)
    assert found.tolist() == [1, 3, 4]
    found, _ = model.search_within(vector, 5, wanted=SongFilter(max_per_artist=1), excluded=NONE)
    assert found.tolist() == [0, 1, 2, 6, 8]
    assert model.artist_number("Björk") == model.artists[4] == model.artists[1]
    assert model.artist_number("Ó") == model.artists[6] != model.artists[1]


def test_songs_are_written_as_the_catalogue_names_them() -> None:
    model = laid(said("s1", title="Told"), new("x", s1=1))
    row = model.row("x")
    assert row is not None
    first, second, third = json.loads(model.written_songs([1, row, 0], [0.5, 0.25, None]))
    assert (first["song_id"], first["title"], first["score"]) == ("s1", "Told", 0.5)
    assert (second["song_id"], second["score"], second["provisional"]) == ("x", 0.25, True)
    assert (third["song_id"], third["score"]) == ("s0", None)
    assert "provisional" not in first
    assert "provisional" not in third


def test_a_new_song_lies_where_those_lie_that_it_was_played_beside() -> None:
    model = laid(new("new", s2=1, s4=1, elsewhere=5))
    row = model.row("new")

    assert row == N_SONGS
    assert model.n_songs == N_SONGS + 1
    assert model.rows(["s1", "new", "none"]).tolist() == [1, N_SONGS, -1]
    mean = angle_model().query_rows(np.array([2, 4])).mean(axis=0)
    assert model.query_rows(np.array([row, 0]))[0] == pytest.approx(mean / np.linalg.norm(mean))
    assert np.linalg.norm(model.song_rows(np.array([row]))[0]) == pytest.approx(1.0)
    assert model.is_provisional(row)
    assert not model.is_provisional(0)
    assert model.song(row).is_provisional
    assert near(model, "new", 3)[0] == "s3"
    assert set(near(model, "new", 3)) == {"s2", "s3", "s4"}
    told = model.neighbours(3, 1)[0]
    assert (told["song_id"], told.get("provisional")) == ("new", True)
    assert "provisional" not in model.neighbours(3, 2)[1]
    assert model.search(mean, 2)[0].tolist() == [N_SONGS, 3]
    assert model.find("", start=N_SONGS - 1, limit=5) == [N_SONGS - 1, N_SONGS]


def test_weights_of_what_it_was_played_beside_count() -> None:
    assert near(laid(new("new", s2=9, s6=1)), "new", 1) == ["s2"]


def test_a_model_that_knows_the_song_needs_no_stand_in() -> None:
    model = laid(new("s3", s9=1))

    assert (model.n_songs, model.row("s3"), model.is_provisional(3)) == (N_SONGS, 3, False)


def test_a_new_song_may_be_denied_and_named() -> None:
    both = CatalogueSong(
        song_id="new",
        revision=1,
        updated_at=NOON,
        said=SongWords(title="New", details={"year": 2026}),
        denial=Denial(reason="rights", denied_at=NOON),
        beside={"s2": 1},
    )
    model = laid(both)

    assert model.names(N_SONGS) == ("new", "New", None)
    assert "new" not in near(model, "s2", N_SONGS)
    assert (
        model.search_within(
            model.query_rows(np.array([2]))[0], 3, wanted=SongFilter.parsed(["year=2026"]), excluded=NONE
        )[0].tolist()
        == []
    )


def test_songs_that_cancel_out_make_no_vector() -> None:
    model = angle_model()
    opposite = LaidOverModel(model, [new("new", s0=1)])
    assert opposite.row("new") == N_SONGS
    model._vectors[1] = -model._vectors[0]
    assert LaidOverModel(model, [new("new", s0=1, s1=1)]).row("new") is None
