import hashlib
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.adapters.corpus import read_histories, read_songs
from app.adapters.preparation import prepare
from app.domain.datasets import DatasetSpec, SourceReference
from app.domain.errors import InvalidSource
from app.domain.listening import Preparation, Split
from tests.adapters.prepared import MINUTE, SHIPPED, prepared, write

Table = dict[str, Any]


def by_session(*sessions: str, **more: list[Any]) -> Table:
    """Plays of sessions written as words: each letter is a song."""
    songs = [(str(i), song, place) for i, session in enumerate(sessions) for place, song in enumerate(session)]
    keys, ids, places = zip(*songs, strict=True)
    return {"session_id": list(keys), "song_id": list(ids), "position": list(places), **more}


def by_user(*plays: tuple[str, float, str]) -> Table:
    """Plays as (user, minute, song)."""
    users, minutes, songs = zip(*plays, strict=True)
    return {"user_id": list(users), "played_at": [int(m * MINUTE) for m in minutes], "song_id": list(songs)}


def shuffled(table: Table, seed: int = 0) -> Table:
    order = np.random.default_rng(seed).permutation(len(table["song_id"]))
    return {name: [values[i] for i in order] for name, values in table.items()}


# ── Sessions ─────────────────────────────────────────────────────────────────────────────────────


def test_gap_longer_than_allowed_begins_a_new_session(tmp_path: Path) -> None:
    plays = by_user(
        *[("u", minute, song) for minute, song in zip([0, 30, 60, 90.001, 100, 110], "abcdef", strict=True)],
        *[("v", minute, song) for minute, song in zip([0, 1, 2], "xyz", strict=True)],
    )
    assert prepared(tmp_path, shuffled(plays)).sessions == [list("abc"), list("xyz"), list("def")]


def test_plays_at_one_instant_are_ordered_by_position_then_song(tmp_path: Path) -> None:
    plays = by_user(("u", 0, "d"), ("u", 0, "c"), ("u", 0, "b"), ("u", 1, "a"))
    result = prepared(tmp_path, plays)
    with_positions = prepared(tmp_path, plays | {"position": [1, 2, 2, 0]})
    assert result.sessions == [list("bcda")]
    assert with_positions.sessions == [list("dbca")]


def test_position_orders_a_named_session_before_time_does(tmp_path: Path) -> None:
    plays = by_session("abc") | {"played_at": [3, 2, 1]}
    assert prepared(tmp_path, shuffled(plays)).sessions == [list("abc")]


def test_time_orders_a_named_session_without_positions(tmp_path: Path) -> None:
    plays = {"session_id": [1, 1, 1], "song_id": ["a", "b", "c"], "played_at": [2, 3, 1]}
    assert prepared(tmp_path, plays).sessions == [list("cab")]


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_named_session_without_times_or_positions_has_the_order_of_the_file(tmp_path: Path, ending: str) -> None:
    plays = {"session_id": [1, 2, 1, 2, 1, 2], "song_id": ["c", "x", "a", "z", "b", "y"]}
    assert prepared(tmp_path, plays, ending=ending).sessions == [list("cab"), list("xzy")]


def test_exact_repeats_stay(tmp_path: Path) -> None:
    assert prepared(tmp_path, by_user(("u", 0, "a"), ("u", 0, "a"), ("u", 0, "a"))).sessions == [list("aaa")]


def test_sessions_are_in_the_order_of_their_first_play(tmp_path: Path) -> None:
    plays = by_session("abc", "def") | {"played_at": [10, 11, 12, 1, 2, 3]}
    assert prepared(tmp_path, plays).sessions == [list("def"), list("abc")]


def test_session_of_two_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="session '0'"):
        prepared(tmp_path, by_session("abc") | {"user_id": ["u", "u", "v"]})


# ── Filters ──────────────────────────────────────────────────────────────────────────────────────


def test_filters_run_in_order_and_count_what_they_drop(tmp_path: Path) -> None:
    plays = by_session("abcx", "aby", "ab", "abcabc", "cab", "z")
    result = prepared(tmp_path, plays, preparation=Preparation(min_song_plays=2, min_length=3, max_length=5))
    assert result.sessions == [list("abc"), list("cab")]
    assert result.statistics.dropped == {
        "sample": {"plays": 0, "sessions": 0},
        "min_song_plays": {"plays": 3, "sessions": 1},
        "min_length": {"plays": 4, "sessions": 2},
        "max_length": {"plays": 6, "sessions": 1},
    }


def test_nothing_left_is_refused_with_what_was_dropped(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match=r"No session is left of 2 with 4 plays; sessions dropped: min_length 2\."):
        prepared(tmp_path, by_session("ab", "cd"))


def test_nothing_in_the_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="sample 1"):
        prepared(tmp_path, by_session("abc"), preparation=Preparation(sample_fraction=1e-9))


def test_sample_by_user_needs_users(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource) as refused:
        prepared(tmp_path, by_session("abc"), preparation=Preparation(sample_by="user"))
    assert refused.value.pointer == "/preparation/sample_by"


def test_sample_has_its_share_and_smaller_samples_lie_within_larger_ones(tmp_path: Path) -> None:
    plays = by_session(*[f"{chr(97 + i % 7)}bc" for i in range(2000)])
    half, fifth, other = (
        prepared(tmp_path, plays, preparation=Preparation(sample_fraction=fraction, seed=seed))
        for fraction, seed in ((0.5, 1), (0.2, 1), (0.5, 2))
    )
    assert 900 < half.corpus.n_sessions < 1100
    assert 340 < fifth.corpus.n_sessions < 460
    assert half.prepared.fingerprint != other.prepared.fingerprint
    assert half.statistics.dropped["sample"]["sessions"] == 2000 - half.corpus.n_sessions


# ── Split, segments, songs, histories ────────────────────────────────────────────────────────────


def test_later_sessions_are_the_test_set(tmp_path: Path) -> None:
    sessions = [f"{chr(97 + i)}xy" for i in range(10)]
    starts = [i * 100 for i in (5, 2, 9, 0, 7, 1, 8, 3, 6, 4)]
    plays = by_session(*sessions) | {"played_at": [start + place for start in starts for place in range(3)]}
    plays["song_id"] = [f"{song}{i}" for i, song in enumerate(plays["song_id"])]
    result = prepared(tmp_path, plays, split=Split(test_fraction=0.3))
    assert {target for _, target in result.test} == {"y8", "y14", "y20"}
    assert len(result.validation) == 7


def test_target_that_was_played_last_decides_not_the_session_that_began_last(tmp_path: Path) -> None:
    plays = by_session("abc", "def") | {"played_at": [0, 1, 100, 50, 51, 52]}
    assert prepared(tmp_path, plays, split=Split(test_fraction=0.5)).test == [("b", "c")]


def test_hash_of_the_key_splits_where_there_are_no_times(tmp_path: Path) -> None:
    plays = by_session(*[f"ab{chr(99 + i)}" for i in range(10)])
    result = prepared(tmp_path, plays, split=Split(test_fraction=0.4))
    keys = sorted(map(str, range(10)), key=lambda key: hashlib.md5(key.encode()).hexdigest())  # noqa: S324 - no secret
    assert {target for _, target in result.test} == {chr(99 + int(key)) for key in keys[-4:]}


@pytest.mark.parametrize(("n_sessions", "fraction", "n_test"), [(1, 0.9, 0), (2, 0.01, 1), (2, 0.99, 1), (10, 0.25, 3)])
def test_both_sets_have_a_session_where_there_are_two(
    tmp_path: Path, n_sessions: int, fraction: float, n_test: int
) -> None:
    result = prepared(tmp_path, by_session(*["abc"] * n_sessions), split=Split(test_fraction=fraction))
    assert (len(result.validation), len(result.test)) == (n_sessions - n_test, n_test)


def test_session_has_the_segment_of_more_than_half_of_its_songs(tmp_path: Path) -> None:
    songs = {"song_id": list("abcdef"), "genre": ["rock", "rock", "pop", "pop", "", None]}
    result = prepared(tmp_path, by_session("aba", "aacc", "cda", "efz", "zza"), songs=songs, segment_by="genre")
    assert result.corpus.segments == ("mixed", "pop", "rock", "unknown")
    assert np.load(result.folder / "session_segments.npy").tolist() == [2, 0, 1, 3, 3]
    every = np.concatenate([result.corpus.validation.segment, result.corpus.test.segment])
    assert sorted(every.tolist()) == [0, 1, 2, 3, 3]


def test_segments_may_be_numbers_or_truths(tmp_path: Path) -> None:
    songs = {"song_id": list("abc"), "year": [1999, 1999, 2001], "is_live": [True, True, False]}
    by_year = prepared(tmp_path, by_session("aba", "ccc"), songs=songs, segment_by="year")
    by_truth = prepared(tmp_path, by_session("aba", "ccc"), songs=songs, segment_by="is_live")
    assert (by_year.corpus.segments, by_truth.corpus.segments) == (("1999", "2001"), ("false", "true"))


@pytest.mark.parametrize(
    ("songs", "reason"),
    [
        (None, "needs a songs table"),
        ({"song_id": ["a"], "title": ["A"]}, "no column 'genre'"),
        ({"song_id": ["a"], "genre": [["x", "y"]]}, "cannot name segments"),
        ({"song_id": ["a"], "genre": ["x" * 257]}, "cannot name a segment"),
    ],
)
def test_segment_by_needs_a_column_of_single_values(tmp_path: Path, songs: Table | None, reason: str) -> None:
    with pytest.raises(InvalidSource, match=reason) as refused:
        prepared(tmp_path, by_session("aaa"), songs=songs, segment_by="genre")
    assert refused.value.pointer == "/segment_by"


def test_too_many_segments_are_refused(tmp_path: Path) -> None:
    names = [f"s{i}" for i in range(257)]
    plays = {"session_id": [name for name in names for _ in range(3)], "song_id": [n for n in names for _ in range(3)]}
    with pytest.raises(InvalidSource, match="more than 256 segments"):
        prepared(tmp_path, plays, songs={"song_id": names, "genre": names}, segment_by="genre")


def test_songs_are_in_vocabulary_order_with_all_that_is_known(tmp_path: Path) -> None:
    songs = pa.table(
        {
            "song_id": ["c", "a", "b", "unplayed"],
            "title": ["C", "", "B", "U"],
            "year": [2001, None, 1999, 1],
            "tags": [["x", "y"], None, [], ["z"]],
            "released": pa.array([0, None, 86_400_000, 0], pa.timestamp("ms")),
            "n_plays": [7, 7, 7, 7],
            "cover": [b"", b"", b"", b""],
        }
    )
    result = prepared(tmp_path, by_session("abcb", "bcx"), songs=songs)
    assert read_songs(result.folder).to_pylist() == [
        {"song_id": song_id, "title": title, "artist": None, "n_plays": n, "year": year, "tags": tags, "released": at}
        for song_id, title, n, year, tags, at in [
            ("b", "B", 3, 1999, None, "1970-01-02 00:00:00"),
            ("c", "C", 2, 2001, "x, y", "1970-01-01 00:00:00"),
            ("a", None, 1, None, None, None),
            ("x", None, 1, None, None, None),
        ]
    ]


def test_songs_without_a_table_have_ids_alone(tmp_path: Path) -> None:
    songs = read_songs(prepared(tmp_path, by_session("bab")).folder)
    assert songs.to_pydict() == {
        "song_id": ["b", "a"],
        "title": [None, None],
        "artist": [None, None],
        "n_plays": [2, 1],
    }


def test_histories_hold_the_last_plays_of_every_user_in_the_whole_source(tmp_path: Path) -> None:
    plays = by_user(
        *[("v", minute, song) for minute, song in enumerate("abab")],
        *[("u", minute, "ab"[minute % 2]) for minute in range(300)],
        *[("lonely", minute, song) for minute, song in zip([0, 500, 501], "aqb", strict=True)],
        ("silent", 0, "q"),
    )
    result = prepared(tmp_path, shuffled(plays), preparation=Preparation(max_length=10))
    histories = read_histories(result.folder)
    assert result.sessions == [list("abab")]
    assert histories.users.to_pylist() == ["lonely", "u", "v"]
    assert histories.offsets.tolist() == [0, 2, 202, 206]
    assert histories.played_at_ms[:2].tolist() == [0, 501 * MINUTE]
    assert histories.played_at_ms[2:202].tolist() == [minute * MINUTE for minute in range(100, 300)]
    assert result.named(histories.songs[:4]) == list("abab")


@pytest.mark.parametrize("more", [{}, {"user_id": ["u"] * 3}, {"played_at": [1, 2, 3]}])
def test_histories_are_empty_without_users_or_times(tmp_path: Path, more: Table) -> None:
    histories = read_histories(prepared(tmp_path, by_session("abc", **more)).folder)
    assert (len(histories.users), histories.offsets.tolist(), len(histories.songs)) == (0, [0], 0)


# ── The same content ─────────────────────────────────────────────────────────────────────────────


def test_fingerprint_is_the_same_for_the_same_content(tmp_path: Path) -> None:
    instants = [datetime(2024, 5, 1, 20, tzinfo=UTC) + timedelta(minutes=7 * i, milliseconds=i) for i in range(60)]
    plays: Table = {"user_id": [i // 20 for i in range(60)], "song_id": [i * i % 17 for i in range(60)]}
    songs: Table = {"song_id": list(range(17)), "genre": ["rock" if i % 3 else "pop" for i in range(17)]}
    as_text = {name: list(map(str, values)) for name, values in plays.items()}
    ms = [int(at.timestamp() * 1000) for at in instants]
    sources: list[Table | pa.Table] = [
        plays | {"played_at": pa.array(instants, pa.timestamp("us", tz="UTC"))},
        plays | {"played_at": pa.array(instants, pa.timestamp("ns", tz="Asia/Riyadh"))},
        plays | {"played_at": pa.array([at.replace(tzinfo=None) for at in instants], pa.timestamp("ms"))},
        shuffled(as_text | {"played_at": ms}),
        shuffled(as_text | {"played_at": [at.isoformat() for at in instants]}, seed=1),
        as_text | {"played_at": [at.astimezone(tz=None).isoformat(" ") for at in instants]},
        pa.table(plays | {"played_at": ms}).cast(
            pa.schema({"user_id": pa.uint16(), "song_id": pa.int8(), "played_at": pa.uint64()})
        ),
    ]
    preparation = Preparation(min_length=3, sample_fraction=0.9, seed=3)
    fingerprints = {
        prepared(
            tmp_path, source, songs=songs, segment_by="genre", preparation=preparation, threads=threads, ending=ending
        ).prepared.fingerprint
        for source in sources
        for threads, ending in ((1, ".parquet"), (3, ".csv"))
    }
    assert len(fingerprints) == 1


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_erased_users_are_left_out_up_to_the_instant(tmp_path: Path, ending: str) -> None:
    heard = [("u", minute, song) for minute, song in enumerate("abc")]
    later = [("u", minute, song) for minute, song in zip([100, 101, 102], "cab", strict=True)]
    others = [("v", minute, song) for minute, song in enumerate("bca")]
    plays = by_user(*heard, *later, *others)

    result = prepared(tmp_path, plays, ending=ending, erased={"u": 2 * MINUTE, "nobody": 900 * MINUTE})

    assert sorted(result.sessions) == sorted([list("cab"), list("bca")])
    histories = read_histories(result.folder)
    assert (histories.users.to_pylist(), histories.played_at_ms.min()) == (["u", "v"], 0)
    assert result.prepared.fingerprint == prepared(tmp_path, by_user(*later, *others)).prepared.fingerprint


def test_without_instants_all_of_an_erased_user_is_left_out_and_without_users_nothing(tmp_path: Path) -> None:
    sessions = by_session("abc", "cba")
    of_users = sessions | {"user_id": ["u"] * 3 + ["v"] * 3}

    assert prepared(tmp_path, of_users, erased={"u": 5}).sessions == [list("cba")]
    assert len(prepared(tmp_path, sessions, erased={"u": 5}).sessions) == 2


def test_a_file_of_erased_users_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="All of its users are erased"):
        prepared(tmp_path, by_user(("u", 0, "a"), ("u", 1, "b"), ("u", 2, "c")), erased={"u": 9 * MINUTE})


@pytest.mark.parametrize("changed", ["song", "order", "split", "time of a history", "user"])
def test_fingerprint_changes_with_the_content(tmp_path: Path, changed: str) -> None:
    plays = by_user(*[("u", minute, song) for minute, song in enumerate("abcdabcd")])
    other = {name: list(values) for name, values in plays.items()}
    split = Split()
    if changed == "song":
        other["song_id"][0] = "z"
    elif changed == "order":
        other["song_id"][0:2] = ["b", "a"]
    elif changed == "split":
        split = Split(query_in_training=True)
    elif changed == "time of a history":
        other["played_at"][0] += 1
    else:
        other["user_id"] = ["v"] * 8
    before, after = prepared(tmp_path, plays), prepared(tmp_path, other, split=split)
    assert before.prepared.fingerprint != after.prepared.fingerprint


def test_shipped_set_has_the_sessions_that_its_notes_tell(tmp_path: Path) -> None:
    result = prepared(tmp_path, SHIPPED / "plays.parquet", songs=SHIPPED / "songs.parquet", threads=2)
    counts = result.statistics.overall
    assert result.statistics.raw_plays == 40_055
    assert counts.sessions == 1_811
    assert counts.sessions + result.statistics.dropped["min_length"]["sessions"] == 2_461
    assert (counts.plays, counts.songs, counts.users) == (39_190, 7_887, 3)
    assert (counts.validation_pairs, counts.test_pairs) == (1_268, 543)


def test_progress_rises_to_one_through_named_phases(tmp_path: Path) -> None:
    progress = prepared(tmp_path, by_session("abc")).progress
    fractions = [each.fraction for each in progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert list(dict.fromkeys(each.phase for each in progress)) == [
        "reading", "cutting sessions", "filtering", "compiling", "counting",
    ]  # fmt: skip


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────

GOOD: Table = {"user_id": ["u"] * 3, "played_at": ["2024-05-01T20:15:00Z"] * 3, "song_id": ["a", "b", "c"]}


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("song_id", None, r"Column song_id, row 2: an empty value is not an id"),
        ("song_id", "", r"Column song_id, row 2: .* is not an id of 1 to 256"),
        ("user_id", "x" * 257, r"Column user_id, row 2: 'x+…' is not an id of 1 to 256"),
        ("played_at", "yesterday", r"Column played_at, row 2: 'yesterday' is not a time"),
        ("played_at", "2024-05-01", r"row 2: '2024-05-01' is not a time"),
        ("played_at", "2024-02-30T20:15:00Z", r"row 2: '2024-02-30T20:15:00Z' is not a time"),
        ("played_at", None, r"row 2: an empty value is not a time"),
        ("played_at", "-1", r"row 2: '-1' is not a time"),
        ("played_at", "1714594500000000", r"row 2: '1714594500000000' is not a time"),
        ("played_at", "1.7e12", r"row 2: '1.7e12' is not a time"),
    ],
)
def test_first_bad_value_is_named(tmp_path: Path, ending: str, column: str, value: str | None, reason: str) -> None:
    plays = {name: list(values) for name, values in GOOD.items()}
    plays[column][1] = value
    with pytest.raises(InvalidSource, match=reason) as refused:
        prepared(tmp_path, plays, ending=ending)
    assert refused.value.pointer == "/plays"
    assert "(1 of 3 rows" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("position", "first"), ("position", ""), ("seconds_streamed", "-1"), ("seconds_streamed", "nan")],
)
def test_numbers_in_csv_must_be_numbers(tmp_path: Path, column: str, value: str) -> None:
    path = tmp_path / "plays.csv"
    path.write_text(f"session_id,song_id,{column}\n1,a,1\n1,b,{value}\n1,c,10\n")
    with pytest.raises(InvalidSource, match=f"Column {column}, row 2"):
        prepared(tmp_path, path)


def test_seconds_streamed_may_be_empty(tmp_path: Path) -> None:
    plays = by_session("abc", seconds_streamed=[None, float("nan"), 200.5])
    assert prepared(tmp_path, plays).sessions == [list("abc")]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"song_id": ["a"], "user_id": ["u"]}, "no session_id and no played_at"),
        ({"song_id": ["a"]}, "no session_id and no user_id or played_at"),
        ({"session_id": ["1"]}, "no column song_id"),
        ({"song_id": [1.5], "session_id": [1]}, "Column song_id holds number"),
        ({"song_id": ["a"], "session_id": [True]}, "Column session_id holds boolean"),
        ({"song_id": ["a"], "session_id": [1], "position": ["1"]}, "Column position holds text"),
        ({"song_id": ["a"], "session_id": [1], "seconds_streamed": [True]}, "Column seconds_streamed holds boolean"),
        ({"song_id": ["a"], "user_id": ["u"], "played_at": [1.5]}, "Column played_at holds number"),
        ({"song_id": pa.array([], pa.string()), "session_id": pa.array([], pa.string())}, "no rows"),
        ({"song_id": pa.nulls(1), "session_id": [1]}, "Column song_id holds other"),
    ],
)
def test_columns_that_are_missing_or_of_another_type_are_named(tmp_path: Path, table: Table, reason: str) -> None:
    with pytest.raises(InvalidSource, match=reason):
        prepared(tmp_path, table)


def test_integers_that_can_only_be_seconds_are_refused(tmp_path: Path) -> None:
    plays = by_user(("u", 0, "a"), ("u", 0, "b"), ("u", 0, "c")) | {"played_at": [1_714_594_500 + i for i in range(3)]}
    with pytest.raises(InvalidSource, match="seconds"):
        prepared(tmp_path, plays)


@pytest.mark.parametrize(
    ("songs", "reason"),
    [
        ({"song_id": ["b", "a", "a", "b"]}, "2 are there more than once, 'a' the first"),
        ({"song_id": ["a", None]}, "Column song_id, row 2"),
        ({"song_id": ["a"], "title": [1]}, "Column title holds integer"),
        ({"song_id": pa.array([], pa.string())}, "no rows"),
    ],
)
def test_songs_table_at_fault_is_refused(tmp_path: Path, songs: Table, reason: str) -> None:
    with pytest.raises(InvalidSource, match=reason) as refused:
        prepared(tmp_path, by_session("abc"), songs=songs)
    assert refused.value.pointer == "/songs"


@pytest.mark.parametrize(
    ("last_lines", "reason"),
    [
        ("u,2024-05-01T20:15:00Z", "line 3: 2 values where the header has 3"),
        ("u,2024-05-01T20:15:00Z,a,b\n", "line 3: 4 values where the header has 3"),
        ('u,2024-05-01T20:15:00Z,"a\n', "line 3: a quote is not closed"),
    ],
)
def test_malformed_csv_is_refused(tmp_path: Path, last_lines: str, reason: str) -> None:
    path = tmp_path / "plays.csv"
    path.write_text(f"user_id,played_at,song_id\nu,2024-05-01T20:14:00Z,a\n{last_lines}")
    with pytest.raises(InvalidSource, match=reason):
        prepared(tmp_path, path)


def test_text_that_turns_out_not_to_be_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plays.csv"
    path.write_bytes(b"session_id,song_id\n" + 10_000 * b"1,aaaaaa\n" + b"1,caf\xe9aa\n")
    with pytest.raises(InvalidSource, match="not UTF-8"):
        prepared(tmp_path, path)


def test_parquet_damaged_within_is_refused(tmp_path: Path) -> None:
    path = write(
        {"session_id": list(range(20_000)), "song_id": [f"s{i}" for i in range(20_000)]}, tmp_path / "p.parquet"
    )
    content = bytearray(path.read_bytes())
    content[100:5_000] = bytes(4_900)
    path.write_bytes(content)
    with pytest.raises(InvalidSource, match="damaged or cut short"):
        prepared(tmp_path, path)


def test_working_files_are_removed_also_on_failure(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource):
        prepared(tmp_path, by_session("ab"))
    assert list((tmp_path / "staged-0").iterdir()) == []


def test_stopping_within_leaves_no_working_files(tmp_path: Path) -> None:
    staged, working = tmp_path / "staged", tmp_path / "working"
    staged.mkdir()

    def stop(_: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        prepare(
            plays=write(by_session("abc"), tmp_path / "plays.parquet"),
            songs=None,
            spec=DatasetSpec(name="small", plays=SourceReference(source="plays")),
            staged=staged,
            temporary=working,
            memory_limit="256MB",
            threads=1,
            on_progress=stop,
        )
    assert not working.exists()


def test_too_little_memory_is_a_memory_error(tmp_path: Path) -> None:
    plays = {"session_id": list(range(50_000)), "song_id": [f"song-{i}" for i in range(50_000)]}
    with pytest.raises(MemoryError):
        prepared(tmp_path, plays, memory_limit="1MB")


@pytest.mark.parametrize("limit_bytes", [4_000, 100_000, 1_000_000])
def test_full_disk_is_told(tmp_path: Path, limit_bytes: int) -> None:
    program = """if True:
        import resource, sys
        from pathlib import Path
        from app.domain.errors import StorageFull
        from tests.adapters.prepared import SHIPPED, prepared
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
        try:
            prepared(Path(sys.argv[2]), SHIPPED / "plays.parquet", songs=SHIPPED / "songs.parquet")
        except StorageFull:
            sys.exit(28)
    """
    command = [sys.executable, "-c", program, str(limit_bytes), str(tmp_path)]
    ended = subprocess.run(command, cwd=SHIPPED.parents[3], capture_output=True, text=True, check=False)
    assert ended.returncode == 28, ended.stderr
    assert not (tmp_path / "staged-0" / "preparing").exists()


def test_names_cannot_reach_sql(tmp_path: Path) -> None:
    folder = tmp_path / "it's [a] *folder"
    folder.mkdir()
    name = "\"; DROP TABLE plays; --'"
    songs = {"song_id": list("abc"), name: ["'x'; --", "y", "z"]}
    for ending in (".parquet", ".csv"):
        result = prepared(folder, by_session("abc", "aab"), songs=songs, segment_by=name, ending=ending)
        assert result.corpus.segments == ("'x'; --", "mixed")
        assert name in read_songs(result.folder).column_names


# ── An independent reference ─────────────────────────────────────────────────────────────────────


def reference_sessions(plays: list[dict[str, Any]], preparation: Preparation) -> Iterator[tuple[str, str, list[Any]]]:
    """(key, user, plays in order) of every session that a user's gaps cut."""
    users = sorted({play["user_id"] for play in plays})
    for user in users:
        heard = sorted((p["played_at"], p["song_id"]) for p in plays if p["user_id"] == user)
        current: list[tuple[int, str]] = []
        for play in heard:
            if current and play[0] - current[-1][0] > preparation.session_gap_minutes * MINUTE:
                yield f"{user}:{current[0][0]}", user, current
                current = []
            current.append(play)
        yield f"{user}:{current[0][0]}", user, current


def reference(
    plays: list[dict[str, Any]], genres: dict[str, str], preparation: Preparation, split: Split
) -> tuple[list[list[str]], list[str], set[int]]:
    """Songs and segment of every chosen session in order, and the numbers of the test sessions."""
    sessions = []
    for key, user, heard in reference_sessions(plays, preparation):
        hashed = f"{preparation.seed}:{user if preparation.sample_by == 'user' else key}"
        prefix = int(hashlib.md5(hashed.encode()).hexdigest()[:12], 16)  # noqa: S324 - no secret
        if prefix < int(preparation.sample_fraction * 16**12):
            sessions.append((heard[0][0], key, heard))
    counts = Counter(song for _, _, heard in sessions for _, song in heard)
    chosen = []
    for start, key, heard in sorted(sessions):
        left = [(at, song) for at, song in heard if counts[song] >= preparation.min_song_plays]
        if preparation.min_length <= len(left) <= (preparation.max_length or len(left)):
            chosen.append((start, key, left))
    segments = []
    for _, _, heard in chosen:
        names = Counter(genres.get(song, "unknown") for _, song in heard)
        segments.append(next((name for name, n in names.items() if n > len(heard) / 2), "mixed"))
    by_target = sorted(range(len(chosen)), key=lambda i: (chosen[i][2][-1][0], chosen[i][1]))
    n_test = min(max(1, int(len(chosen) * split.test_fraction + 0.5)), len(chosen) - 1)
    test = set(by_target[len(chosen) - n_test :])
    return [[song for _, song in heard] for _, _, heard in chosen], segments, test


PLAYS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["ann", "bob", "b:1", "Ångström", "1"]),
            "song_id": st.sampled_from([*"abcdefgß", "10", "9"]),
            "played_at": st.integers(0, 400).map(lambda step: step * 5 * MINUTE),
        }
    ),
    min_size=1,
    max_size=250,
)
PREPARATIONS = st.builds(
    Preparation,
    session_gap_minutes=st.sampled_from([5, 20, 60]),
    min_length=st.sampled_from([3, 4]),
    max_length=st.sampled_from([None, 6, 20]),
    min_song_plays=st.sampled_from([1, 2, 15]),
    sample_fraction=st.sampled_from([1.0, 0.7, 0.4]),
    sample_by=st.sampled_from(["session", "user"]),
    seed=st.integers(0, 5),
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(plays=PLAYS, preparation=PREPARATIONS, fraction=st.sampled_from([0.1, 0.3, 0.5, 0.9]), rare=st.booleans())
def test_sessions_samples_segments_and_split_agree_with_the_reference(
    plays: list[dict[str, Any]], preparation: Preparation, fraction: float, rare: bool
) -> None:
    genres = {song: ["rock", "pop"][i % 2] for i, song in enumerate("abcdef" if rare else "ab")}
    songs: Table = {"song_id": list(genres), "genre": list(genres.values())}
    split = Split(test_fraction=fraction)
    sessions, segments, test = reference(plays, genres, preparation, split)
    table: dict[str, list[Any]] = defaultdict(list)
    for play in plays:
        for name, value in play.items():
            table[name].append(value)
    with TemporaryDirectory() as folder:
        if not sessions:
            with pytest.raises(InvalidSource, match="No session is left"):
                prepared(Path(folder), dict(table), preparation=preparation)
            return
        result = prepared(
            Path(folder), dict(table), songs=songs, segment_by="genre", split=split, preparation=preparation
        )
        names = np.array(result.corpus.segments)
        assert result.sessions == sessions
        assert names[np.load(result.folder / "session_segments.npy")].tolist() == segments
        assert result.test == [(s[-2], s[-1]) for i, s in enumerate(sessions) if i in test]
        assert result.validation == [(s[-2], s[-1]) for i, s in enumerate(sessions) if i not in test]
        assert names[result.corpus.test.segment].tolist() == [segments[i] for i in sorted(test)]
        counts = Counter(song for session in sessions for song in session)
        assert result.song_ids == sorted(counts, key=lambda song: (-counts[song], song))
