"""Ranking: the songs for one history by one model, whatever they have to be chosen by.

    profile ──► session ──► segment's popular ──► popular
       each gives what the one before left open, and the answer says which gave how many

The profile is of the whole history, or, where the request asks for it, of its last session alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.domain.diversity import most_marginally_relevant
from app.domain.embedding import Matrix
from app.domain.filtering import SongFilter, first_of_each, masked
from app.domain.recommending import (
    History,
    RecommendationOptions,
    contributions,
    last_session,
    not_heard,
    profile,
    recency_weights,
    segment_of_user,
    session_weights,
)
from app.domain.serving import SCORE_DECIMALS, Basis, LiveModel, Reason, Recommendation, told_songs

MOST_REASONS = 10
"""Songs heard that explain one recommendation at most."""

CANDIDATES_PER_SONG = 10
"""Songs that are looked at for each one of a list that is to be diverse."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weighed:
    """Plays and what each weighs, and the vector they make: None when it has no direction."""

    basis: Basis
    songs: Rows
    weights: NDArray[np.float64]
    queries: Matrix
    vector: Matrix | None


@dataclass(slots=True)
class Ranked:
    """Songs chosen so far, best first: rows, scores (None where no profile was compared with), what gave how many."""

    rows: list[int] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    steps: list[tuple[Basis, int]] = field(default_factory=list)

    def take(self, basis: Basis, scored: Sequence[tuple[int, float | None]]) -> None:
        """Add what a basis gave: rows and their scores."""
        if scored:
            self.rows.extend([row for row, _ in scored])
            self.scores.extend([score for _, score in scored])
            self.steps.append((basis, len(scored)))


def weighed(model: LiveModel, history: History, *, options: RecommendationOptions, now_ms: int) -> Weighed:
    """A history by recency, event and completion."""
    strengths = history.strengths
    songs, times = history.songs, history.played_at_ms
    if strengths is not None:
        is_counted = strengths != 0
        songs, times, strengths = songs[is_counted], times[is_counted], strengths[is_counted]
    weights = recency_weights(times, now_ms=now_ms, half_life_days=options.half_life_days)
    return _weighed(model, "profile", songs, weights if strengths is None else weights * strengths)


def weighed_session(model: LiveModel, session: History) -> Weighed:
    """Songs in order, newest first, by their place and not by their time."""
    weights = session_weights(len(session))
    return _weighed(
        model, "session", session.songs, weights if session.strengths is None else weights * session.strengths
    )


def _weighed(model: LiveModel, basis: Basis, songs: Rows, weights: NDArray[np.float64]) -> Weighed:
    queries = model.query_rows(songs)
    return Weighed(basis, songs, weights, queries, profile(queries, weights))


T = TypeVar("T")

Tell = Callable[[LiveModel, Ranked, Weighed | None], T]
"""Makes what an answer says of the songs chosen, and of the profile that they were compared with."""

Search = Callable[[Matrix, int], tuple[Rows, NDArray[np.float32]]]
"""The best songs near a vector, and their scores, of those that may be recommended."""


def ranked(
    model: LiveModel,
    asked: Weighed,
    history: History,
    *,
    excluded: Rows,
    wanted: SongFilter,
    segment: int | None,
    options: RecommendationOptions,
    search: Search | None = None,
) -> tuple[Ranked, Weighed | None]:
    """Up to k songs not among `excluded` that pass, and the profile that was compared with, if any was.

    `search` replaces the model's own: what was searched for many users at once.
    """
    found = Ranked()
    used = asked
    if asked.vector is None and asked.basis == "profile" and len(history):
        used = weighed_session(model, last_session(history))
    if used.vector is not None:
        scored = _nearest(model, used.vector, excluded=excluded, wanted=wanted, options=options, search=search)
        found.take(used.basis, scored)
    if len(found.rows) < options.k and segment is not None:
        of_segment = partial(model.popular, segment=segment)
        _fill(model, found, "segment_popular", of_segment, excluded=excluded, wanted=wanted, k=options.k)
    if len(found.rows) < options.k:
        _fill(model, found, "popular", model.popular, excluded=excluded, wanted=wanted, k=options.k)
    return found, None if used.vector is None else used


def _nearest(
    model: LiveModel,
    vector: Matrix,
    *,
    excluded: Rows,
    wanted: SongFilter,
    options: RecommendationOptions,
    search: Search | None,
) -> list[tuple[int, float]]:
    is_diverse = options.mmr_lambda < 1
    n_candidates = options.k * CANDIDATES_PER_SONG if is_diverse else options.k
    if narrows(wanted):
        rows, scores = model.search_within(vector, n_candidates, wanted=wanted, excluded=excluded)
        scored = list(zip(rows.tolist(), scores.tolist(), strict=True))
    else:
        look = model.search if search is None else search
        rows, scores = look(vector, min(n_candidates + len(excluded), model.n_songs))
        scored = not_heard(rows, scores, heard=excluded, k=n_candidates)
    if not is_diverse:
        return scored
    chosen = most_marginally_relevant(
        np.array([score for _, score in scored]) / np.linalg.norm(vector),
        model.query_rows(np.array([row for row, _ in scored], dtype=np.int64)),
        k=options.k,
        weight=options.mmr_lambda,
    )
    return [scored[place] for place in chosen]


def narrows(wanted: SongFilter) -> bool:
    """Whether a filter does more than leave single songs out."""
    return bool(wanted.where) or wanted.max_per_artist is not None


def _fill(
    model: LiveModel,
    found: Ranked,
    basis: Basis,
    popular: Callable[[int], Rows],
    *,
    excluded: Rows,
    wanted: SongFilter,
    k: int,
) -> None:
    """What is popular, passes and is neither excluded nor chosen yet, up to k songs in all."""
    chosen = np.array(found.rows, dtype=np.int64)
    left_out = np.concatenate([excluded, chosen])
    candidates = popular(model.n_songs if narrows(wanted) else k + len(left_out))
    candidates = candidates[~np.isin(candidates, left_out, kind="table")]
    passing = masked(wanted, model.carriers)
    if passing is not None:
        candidates = candidates[passing[candidates]]
    if wanted.max_per_artist is not None:
        is_kept = first_of_each(model.artists[np.concatenate([chosen, candidates])], wanted.max_per_artist)
        candidates = candidates[is_kept[len(chosen) :]]
    found.take(basis, [(row, None) for row in candidates[: k - len(chosen)].tolist()])


def segment_of(model: LiveModel, history: History) -> int | None:
    """The number of the user's segment by the songs table of the model; None when it has no segments."""
    return segment_of_user(model.segments_of(history.songs)) if model.segments else None


def told(model: LiveModel, found: Ranked, _used: Weighed | None = None) -> list[Recommendation]:
    """The songs by their names."""
    return told_songs(model, found.rows, found.scores)


def written(model: LiveModel, found: Ranked, _used: Weighed | None = None) -> bytes:
    """The same as a JSON array."""
    return model.written_songs(found.rows, found.scores)


def explained(model: LiveModel, found: Ranked, used: Weighed | None) -> list[Recommendation]:
    """The same, each with the songs heard that drew it in; those are what the score is the sum of.

    The score is computed anew from the vectors, for a quantised index only comes near it.
    """
    answer = told(model, found)
    n_scored = sum(score is not None for score in found.scores)
    for recommendation in answer[n_scored:]:
        recommendation["because"] = []
        recommendation["because_of_others"] = 0.0
    if used is None or n_scored == 0:
        return answer
    added = contributions(used.queries, used.weights, model.song_rows(np.array(found.rows[:n_scored], dtype=np.int64)))
    heard, place, n_plays = np.unique(used.songs, return_inverse=True, return_counts=True)
    names = [model.names(row) for row in heard.tolist()]
    for recommendation, of_plays in zip(answer[:n_scored], added, strict=True):
        of_songs = np.bincount(place, weights=of_plays, minlength=len(heard))
        strongest = np.argsort(-np.abs(of_songs), kind="stable")[:MOST_REASONS]
        reasons: list[Reason] = []
        for song in strongest.tolist():
            song_id, title, artist = names[song]
            reasons.append(
                {
                    "song_id": song_id,
                    "title": title,
                    "artist": artist,
                    "n_plays": int(n_plays[song]),
                    "contribution": round(float(of_songs[song]), SCORE_DECIMALS),
                }
            )
        recommendation["score"] = round(float(of_plays.sum()), SCORE_DECIMALS)
        recommendation["because"] = reasons
        recommendation["because_of_others"] = round(float(of_plays.sum() - of_songs[strongest].sum()), SCORE_DECIMALS)
    return answer
