"""Songs by words: case and accents do not matter, and what is found comes by plays."""

import pyarrow as pa
import pytest

from app.adapters.song_search import CHUNK_ROWS, SongSearch, words_of


def search_of(*songs: tuple[str | None, str | None]) -> SongSearch:
    titles, artists = ([song[place] for song in songs] for place in (0, 1))
    return SongSearch(
        words_of(pa.table({"title": pa.array(titles, pa.string()), "artist": pa.array(artists, pa.string())}))
    )


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Hoppípolla", "hoppipolla"),
        ("Hoppipolla", "HOPPÍPOLLA"),
        ("Beyonce\N{COMBINING ACUTE ACCENT}", "Beyoncé"),
        ("Straße", "STRASSE"),
        ("Strasse", "straße"),
        ("Trentemøller", "trentemoller"),
        ("\N{LATIN SMALL LIGATURE FI}re", "fire"),
        ("İstanbul", "istanbul"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("東京", "東京"),
        ("100% (Live)", "100% (l"),
        ("a.*b", ".*"),
    ],
)
def test_case_and_accents_do_not_matter(name: str, query: str) -> None:
    assert search_of(("other", "other"), (name, None)).find(query, start=0, limit=5) == [1]


def test_all_words_must_occur_in_any_order_over_title_and_artist() -> None:
    search = search_of(("Army of Me", "Björk"), ("Army", "Ellie Goulding"), ("Hunter", "Björk"))

    assert search.find("bjork army", start=0, limit=5) == [0]


def test_a_word_does_not_reach_from_the_title_into_the_artist() -> None:
    assert search_of(("one", "two")).find("onetwo", start=0, limit=5) == []


def test_songs_without_names_are_not_found_by_words_but_listed_without() -> None:
    search = search_of((None, None), ("a", None))

    assert search.find("a", start=0, limit=5) == [1]
    assert search.find("  ", start=0, limit=5) == [0, 1]


def test_it_goes_on_from_a_row_and_stops_at_the_limit() -> None:
    search = search_of(*[("la la", None)] * 10)

    assert search.find("la", start=3, limit=2) == [3, 4]
    assert search.find("la", start=9, limit=2) == [9]
    assert search.find("la", start=10, limit=2) == []
    assert search.find("", start=8, limit=5) == [8, 9]


def test_it_searches_beyond_the_first_chunk() -> None:
    titles: list[str | None] = ["la"] * (CHUNK_ROWS + 2)
    titles[1], titles[CHUNK_ROWS + 1] = "rare", "rare"
    search = search_of(*[(title, None) for title in titles])

    assert search.find("rare", start=0, limit=5) == [1, CHUNK_ROWS + 1]
    assert search.find("rare", start=2, limit=5) == [CHUNK_ROWS + 1]
    assert search.find("rare", start=0, limit=1) == [1]
    assert search.find("rare", start=10 * CHUNK_ROWS, limit=1) == []


def test_text_that_cannot_be_encoded_finds_nothing() -> None:
    assert search_of(("a", "b")).find("\ud800", start=0, limit=5) == []


def test_no_songs_hold_nothing() -> None:
    assert search_of().find("a", start=0, limit=5) == []
