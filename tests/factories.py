"""Builders of values for tests: name only what matters."""

from collections.abc import Sequence

import numpy as np

from app.domain.listening import Corpus, Pairs, Split


def pairs(*rows: tuple[int, int] | tuple[int, int, int]) -> Pairs:
    """Pairs from (query, target) or (query, target, segment)."""
    table = np.array([(*row, 0)[:3] for row in rows], dtype=np.int32).reshape(-1, 3)
    return Pairs(*table.T.copy())


def corpus(
    *,
    sessions: Sequence[Sequence[int]],
    n_songs: int | None = None,
    n_test: int = 0,
    segments: Sequence[str] = (),
    session_segments: Sequence[int] | None = None,
    split: Split | None = None,
    artists: Sequence[int] | None = None,
) -> Corpus:
    """A corpus whose sessions end in their pairs: those of the last `n_test` sessions are test pairs."""
    split = split or Split()
    plays = np.array([song for session in sessions for song in session], dtype=np.int32)
    of_session = session_segments or [0] * len(sessions)
    held_out = [(session[-2], session[-1], segment) for session, segment in zip(sessions, of_session, strict=True)]
    n_validation = len(sessions) - n_test
    return Corpus(
        n_songs=int(plays.max(initial=-1)) + 1 if n_songs is None else n_songs,
        plays=plays,
        offsets=np.cumsum([0, *map(len, sessions)], dtype=np.int64),
        segments=tuple(segments),
        validation=pairs(*held_out[:n_validation]),
        test=pairs(*held_out[n_validation:]),
        split=split,
        session_segments=np.array(of_session, dtype=np.int32),
        artists=None if artists is None else np.array(artists, dtype=np.int32),
    )
