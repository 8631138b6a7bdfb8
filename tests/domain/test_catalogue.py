"""What may be said of a song is bounded, and a change leaves the rest as it was."""

import pytest

from app.domain.catalogue import MAX_BESIDE, CatalogueSong, Denial, SongChanges, SongWords
from app.domain.errors import InvalidRequest
from tests.values import NOON


def song(**changes: object) -> CatalogueSong:
    return CatalogueSong(song_id="s", revision=1, updated_at=NOON, **changes)  # type: ignore[arg-type]


def test_a_change_keeps_what_it_does_not_name_and_none_takes_away() -> None:
    before = SongWords(title="T", artist="A", details={"genre": "rock", "year": 1999})
    changes = SongChanges(fields={"title": None}, details={"genre": None, "live": True})

    assert changes.on(before) == SongWords(title=None, artist="A", details={"year": 1999, "live": True})
    assert changes.on(None) == SongWords(details={"live": True})


def test_a_song_of_which_nothing_is_said_is_empty() -> None:
    assert song().is_empty
    assert not song(said=SongWords()).is_empty
    assert not song(denial=Denial(reason="rights", denied_at=NOON)).is_empty
    assert not song(beside={"a": 1}).is_empty


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"title": "x" * 1_001}, "/title"),
        ({"artist": "a\0b"}, "/artist"),
        ({"details": {f"c{number}": 1 for number in range(51)}}, "/details"),
        ({"details": {"": 1}}, "/details/"),
        ({"details": {"n_plays": 1}}, "/details/n_plays"),
        ({"details": {"genre": "x" * 257}}, "/details/genre"),
        ({"details": {"gain": float("nan")}}, "/details/gain"),
    ],
)
def test_what_is_said_is_bounded(words: dict[str, object], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SongWords(**words)  # type: ignore[arg-type]

    assert caught.value.pointer == pointer


@pytest.mark.parametrize("reason", ["", "x" * 1_001, "a\ud800"])
def test_a_denial_has_a_reason(reason: str) -> None:
    with pytest.raises(InvalidRequest):
        Denial(reason=reason, denied_at=NOON)


@pytest.mark.parametrize("beside", [{}, {"s": 1}, {"a": 0}, {"": 1}, {f"o{n}": 1 for n in range(MAX_BESIDE + 1)}])
def test_a_new_song_is_beside_some_others(beside: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        song(beside=beside)


def test_details_of_any_kind_are_taken() -> None:
    assert SongWords(details={"gain": -0.5, "genre": "rock", "live": False}).details["gain"] == -0.5
