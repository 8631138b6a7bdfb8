"""Samples of a corpus."""

from dataclasses import replace

import numpy as np

from app.domain.sampling import sampled
from tests.factories import corpus

WHOLE = corpus(sessions=[[i, i + 1, i + 2, i + 3][: 3 + i % 2] for i in range(500)], n_songs=510, n_test=100)


def sessions_of(fraction: float) -> set[tuple[int, ...]]:
    part = sampled(WHOLE, fraction)
    return {tuple(part.plays[a:b].tolist()) for a, b in zip(part.offsets[:-1], part.offsets[1:], strict=True)}


def test_samples_are_nested_and_about_as_large_as_asked() -> None:
    tenth, third, whole = (sessions_of(fraction) for fraction in (0.1, 0.3, 1.0))
    assert tenth < third < whole
    assert len(whole) == 500
    assert 30 <= len(tenth) <= 70
    assert 120 <= len(third) <= 180


def test_pairs_and_songs_stay_as_they_are() -> None:
    part = sampled(WHOLE, 0.1)
    assert part.n_songs == WHOLE.n_songs
    assert part.validation is WHOLE.validation
    assert part.test is WHOLE.test
    assert part.offsets.dtype == np.int64
    assert part.plays.dtype == np.int32
    assert part.training_counts().sum() == len(part.plays) - 2 * part.n_sessions


def test_a_sample_of_one_segment_has_sessions_of_that_segment_alone() -> None:
    segments = np.arange(500, dtype=np.int32) % 2
    scoped = replace(WHOLE, segments=("ar", "en"), session_segments=segments).scoped("en")
    part = sampled(scoped, 0.3)
    assert part.session_segments is not None
    assert len(part.session_segments) == part.n_sessions
    training = {tuple(session.tolist()) for session in part.training_sessions(held_out=False)}
    assert training == {session for session in sessions_of(0.3) if session[0] % 2 == 1}
    assert 0 < len(training) < part.n_sessions
