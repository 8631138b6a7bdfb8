from pathlib import Path

import numpy as np
import pyarrow as pa

from app.domain.datasets import Counts, LengthQuantiles
from app.domain.listening import Preparation, Split
from tests.adapters.prepared import prepared

SONGS = {"song_id": list("abc"), "genre": ["rock", "rock", "pop"]}


def plays(*sessions: tuple[str, str]) -> pa.Table:
    """Plays of sessions given as (user, songs), each session an hour after the one before."""
    rows = [
        (str(i), user, song, i * 3_600_000 + place)
        for i, (user, songs) in enumerate(sessions)
        for place, song in enumerate(songs)
    ]
    keys, users, songs, instants = zip(*rows, strict=True)
    return pa.table({"session_id": keys, "user_id": users, "song_id": songs, "played_at": instants})


def test_counts_are_those_of_what_is_left_overall_and_by_segment(tmp_path: Path) -> None:
    source = plays(("u", "abab"), ("v", "abb"), ("u", "ccc"), ("w", "aacc"), ("u", "ab"), ("v", "acbaaa"))
    result = prepared(tmp_path, source, songs=SONGS, segment_by="genre", split=Split(test_fraction=0.4))
    statistics = result.statistics
    assert statistics.raw_plays == 22
    assert statistics.overall == Counts(
        plays=20,
        sessions=5,
        songs=3,
        users=3,
        validation_pairs=3,
        test_pairs=2,
        repeat_pairs=4,
        session_length=LengthQuantiles(min=3, p25=3.0, p50=4.0, p75=4.0, p95=5.6, max=6),
    )
    assert list(statistics.segments) == ["mixed", "pop", "rock"]
    assert statistics.segments["rock"] == Counts(
        plays=13,
        sessions=3,
        songs=3,
        users=2,
        validation_pairs=2,
        test_pairs=1,
        repeat_pairs=2,
        session_length=LengthQuantiles(min=3, p25=3.5, p50=4.0, p75=5.0, p95=5.8, max=6),
    )
    assert (statistics.segments["pop"].songs, statistics.segments["mixed"].users) == (1, 1)


def test_segments_add_up_to_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sessions = [(f"u{i % 5}", "".join(rng.choice(list("abcde"), size=rng.integers(1, 9)))) for i in range(120)]
    result = prepared(
        tmp_path, plays(*sessions), songs=SONGS, segment_by="genre", preparation=Preparation(sample_fraction=0.7)
    )
    overall, segments = result.statistics.overall, result.statistics.segments.values()
    for name in ("plays", "sessions", "validation_pairs", "test_pairs", "repeat_pairs"):
        assert sum(getattr(counts, name) for counts in segments) == getattr(overall, name)
    dropped = result.statistics.dropped.values()
    assert result.statistics.raw_plays == overall.plays + sum(counts["plays"] for counts in dropped)
    assert len(sessions) == overall.sessions + sum(counts["sessions"] for counts in dropped)


def test_length_quantiles_are_numpys(tmp_path: Path) -> None:
    lengths = np.random.default_rng(2).integers(3, 40, size=51)
    quantiles = prepared(tmp_path, plays(*[("u", "a" * n) for n in lengths])).statistics.overall.session_length
    assert quantiles is not None
    expected = np.percentile(lengths, [0, 25, 50, 75, 95, 100])
    told = [quantiles.min, quantiles.p25, quantiles.p50, quantiles.p75, quantiles.p95, quantiles.max]
    np.testing.assert_allclose(told, expected)


def test_users_are_unknown_where_plays_name_none(tmp_path: Path) -> None:
    result = prepared(tmp_path, plays(("u", "abc")).drop_columns(["user_id"]), songs=SONGS, segment_by="genre")
    assert result.statistics.overall.users is None
    assert result.statistics.segments["rock"].users is None


def test_there_are_no_segments_without_segment_by(tmp_path: Path) -> None:
    result = prepared(tmp_path, plays(("u", "abc")), songs=SONGS)
    assert (result.statistics.segments, result.corpus.segments) == ({}, ())
