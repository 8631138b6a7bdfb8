"""Evaluating: how well lists of recommended songs name the song that was played next.

Notation: pair p has query q_p and target t_p; L_q is the list of at most k songs recommended for query q, best first;
r_p in 1..k is the rank of t_p in L_{q_p}; h_p = 1 if t_p is in that list, else 0; g_p = h_p / log2(1 + r_p);
w = `hr_weight`; n is the number of pairs measured.

    HR@k = mean of h_p      NDCG@k = mean of g_p (one relevant song)      objective = mean of w h_p + (1 - w) g_p

Rules
one pair a session   a session gives one pair, so pairs are independent draws; the compiled corpus sees to it
known songs only     a list holds none but songs that the model knows; each distinct query is answered once
query left out       the query is taken out of its own list by identity, never by rank
ties                 equal scores: the lower vocabulary row, that is the more played song, first
unknown is a miss    a pair whose query or target the model does not know scores 0 and is counted
repeats              a pair with q_p = t_p cannot be answered: `drop` leaves it out of n, `hit` gives it rank 1, `miss`
                     scores it 0; it is counted as a repeat alone, whether or not the model knows the song
segments             the same numbers over the pairs of one segment; every segment is named, also one without pairs
coverage             distinct songs in the lists of the answered queries, over all songs of the vocabulary
popularity           mean training plays of the songs in those lists, a list weighing as many pairs as it answers,
                     over the plays of the most played song
artist share         of the pairs of songs in a list whose artists are known, those with the same artist; the mean over
                     the lists that have such a pair, a list weighing as many pairs as it answers
interval             95 %. HR: Wilson. NDCG and objective: m +- z s / sqrt(n), s the sample deviation over pairs, kept
                     in [0, 1]; with fewer than 5 hits or fewer than 5 misses s says little, so Wilson's at the mean,
                     which is wider since Var <= m (1 - m) for values in [0, 1]. No pairs: no number, never (0, 0)

The measurement after an epoch is this same function on that epoch's vectors.
Source: HR and NDCG with one relevant song, Caselles-Dupre et al. 2018; Wilson 1927.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import ScoringRows
from app.domain.listening import Pairs, Repeats
from app.domain.measurement import Estimate, Measurement, Scores
from app.domain.pairing import LEFT_OUT, PairRanks
from app.domain.ports import NeighbourSearch

Z = NormalDist().inv_cdf(0.975)
"""Standard deviations that a 95 % interval reaches to either side."""

FEWEST_FOR_NORMAL = 5
"""Hits, and misses, below which the normal interval is not used."""

Lists = NDArray[np.signedinteger]
"""Recommended vocabulary rows `(n_queries, k)`, best first, padded with -1."""

LISTS_AT_ONCE = 1 << 16
"""Lists whose artists are compared together."""


def _ignored(_ranks: PairRanks) -> None:
    """Nobody asks what became of each pair."""


def evaluate(
    rows: ScoringRows,
    pairs: Pairs,
    *,
    search: NeighbourSearch,
    k: int,
    hr_weight: float,
    repeats: Repeats,
    segments: tuple[str, ...],
    training_counts: NDArray[np.int64],
    artists: NDArray[np.int32] | None = None,
    on_ranks: Callable[[PairRanks], None] = _ignored,
) -> Measurement:
    """A model's measurement on `pairs`: its neighbours searched, then counted by the rules of the module header."""
    queries = answerable_queries(pairs)
    return evaluate_lists(
        nearest_known(rows, queries, search=search, k=k),
        queries,
        pairs,
        is_known=rows.is_known,
        hr_weight=hr_weight,
        repeats=repeats,
        segments=segments,
        training_counts=training_counts,
        artists=artists,
        on_ranks=on_ranks,
    )


def answerable_queries(pairs: Pairs) -> NDArray[np.int64]:
    """The distinct queries of the pairs that can be answered (query other than target), ascending.

    >>> row = np.array([4, 2, 4, 7], dtype=np.int32)
    >>> answerable_queries(Pairs(row, np.array([1, 1, 2, 7], dtype=np.int32), np.zeros(4, dtype=np.int32))).tolist()
    [2, 4]
    """
    return np.unique(pairs.query[pairs.query != pairs.target]).astype(np.int64)


def nearest_known(rows: ScoringRows, queries: NDArray[np.int64], *, search: NeighbourSearch, k: int) -> Lists:
    """The k best known songs of each query, the query left out; nothing (-1) for a query that is not known."""
    lists = np.full((len(queries), k), -1, dtype=np.int32)
    is_answered = rows.is_known[queries]
    if not is_answered.any():
        return lists
    answered = queries[is_answered]
    known = np.flatnonzero(rows.is_known).astype(np.int32)
    found, _ = search.search(rows.songs.at(known), rows.queries.at(answered), k + 1)
    lists[is_answered] = without_query(np.where(found >= 0, known[found], np.int32(-1)), answered)
    return lists


def without_query(lists: Lists, queries: NDArray[np.int64]) -> Lists:
    """Lists one song shorter: each without its query or, where the query is not in it, without its last song.

    >>> without_query(np.array([[3, 1, 2], [3, 1, 2]]), np.array([1, 9])).tolist()
    [[3, 2], [3, 1]]
    """
    is_kept = lists != queries[:, np.newaxis]
    is_kept[is_kept.all(axis=1), -1] = False
    shorter: Lists = lists[is_kept].reshape(len(lists), lists.shape[1] - 1)
    return shorter


def evaluate_lists(
    lists: Lists,
    queries: NDArray[np.int64],
    pairs: Pairs,
    *,
    is_known: NDArray[np.bool_],
    hr_weight: float,
    repeats: Repeats,
    segments: tuple[str, ...],
    training_counts: NDArray[np.int64],
    artists: NDArray[np.int32] | None = None,
    on_ranks: Callable[[PairRanks], None] = _ignored,
) -> Measurement:
    """The measurement of any recommender: `lists[i]` answers `queries[i]`; queries ascend and cover the pairs'.

    `lists` keep the rules known songs only, query left out and ties. `artists` `(n_songs,)` numbers each song's artist,
    -1 for none; `on_ranks` hears what became of each pair. Raises: ValueError when a query has no list.
    """
    outcomes = _outcomes(lists, queries, pairs, is_known=is_known, repeats=repeats)
    (overall,) = _scores(outcomes, np.zeros(len(pairs), dtype=np.int64), n_groups=1, hr_weight=hr_weight)
    by_segment = _scores(outcomes, pairs.segment, n_groups=len(segments), hr_weight=hr_weight) if segments else []
    coverage, popularity = _breadth(lists, outcomes.list_weights, training_counts)
    on_ranks(_pair_ranks(outcomes, pairs, segments))
    return Measurement(
        k=lists.shape[1],
        overall=overall,
        segments=dict(zip(segments, by_segment, strict=True)),
        coverage=coverage,
        popularity=popularity,
        artist_share=None if artists is None else artist_share(lists, outcomes.list_weights, artists),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcomes:
    """What became of each pair, arrays `(n_pairs,)`; and the pairs that each list answers, `(n_queries,)`."""

    is_measured: NDArray[np.bool_]
    rank: NDArray[np.int64]
    is_hit: NDArray[np.bool_]
    gain: NDArray[np.float64]
    is_unknown_query: NDArray[np.bool_]
    is_unknown_target: NDArray[np.bool_]
    is_repeat: NDArray[np.bool_]
    list_weights: NDArray[np.int64]


def _outcomes(
    lists: Lists, queries: NDArray[np.int64], pairs: Pairs, *, is_known: NDArray[np.bool_], repeats: Repeats
) -> _Outcomes:
    is_repeat = pairs.query == pairs.target
    is_unknown_query = ~is_repeat & ~is_known[pairs.query]
    is_unknown_target = ~is_repeat & ~is_known[pairs.target]
    is_answered = ~is_repeat & ~is_unknown_query
    answered_by = _positions(queries, pairs.query[is_answered])
    rank = np.zeros(len(pairs), dtype=np.int64)
    rank[is_answered] = _ranks(lists, answered_by, pairs.target[is_answered])
    rank[is_unknown_target] = 0
    if repeats is Repeats.HIT:
        rank[is_repeat] = 1
    is_hit = rank > 0
    gain = np.zeros(len(pairs))
    gain[is_hit] = 1.0 / np.log2(1.0 + rank[is_hit])
    return _Outcomes(
        is_measured=~is_repeat if repeats is Repeats.DROP else np.ones(len(pairs), dtype=np.bool_),
        rank=rank,
        is_hit=is_hit,
        gain=gain,
        is_unknown_query=is_unknown_query,
        is_unknown_target=is_unknown_target,
        is_repeat=is_repeat,
        list_weights=np.bincount(answered_by, minlength=len(queries)),
    )


def _pair_ranks(outcomes: _Outcomes, pairs: Pairs, segments: tuple[str, ...]) -> PairRanks:
    ranks = outcomes.rank.astype(np.uint8)  # k is at most 100
    ranks[~outcomes.is_measured] = LEFT_OUT
    segment = pairs.segment.astype(np.uint8) if segments else np.zeros(len(pairs), np.uint8)
    return PairRanks(ranks, segment, segments)


def _positions(queries: NDArray[np.int64], wanted: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where in the ascending `queries` each wanted one stands."""
    positions = np.searchsorted(queries, wanted)
    if (positions == len(queries)).any() or (queries[positions] != wanted).any():
        msg = "A pair's query has no list."
        raise ValueError(msg)
    return positions


def _ranks(lists: Lists, answered_by: NDArray[np.int64], target: NDArray[np.int32]) -> NDArray[np.int64]:
    """The rank, from 1, of each target in its list; 0 when absent. Column by column: memory stays O(n_pairs)."""
    ranks = np.zeros(len(target), dtype=np.int64)
    for column in range(lists.shape[1]):
        ranks[lists[answered_by, column] == target] = column + 1
    return ranks


def _scores(outcomes: _Outcomes, group: NDArray[np.integer], *, n_groups: int, hr_weight: float) -> list[Scores]:
    """Scores of each group of pairs."""

    def count(mask: NDArray[np.bool_]) -> list[int]:
        counted: list[int] = np.bincount(group[mask], minlength=n_groups).tolist()
        return counted

    def total(values: NDArray[np.float64]) -> list[float]:
        totals: list[float] = np.bincount(group, weights=values, minlength=n_groups).tolist()
        return totals

    value = hr_weight * outcomes.is_hit + (1.0 - hr_weight) * outcomes.gain
    n_pairs, n_hits = count(outcomes.is_measured), count(outcomes.is_hit)
    n_unknown_query, n_unknown_target = count(outcomes.is_unknown_query), count(outcomes.is_unknown_target)
    n_repeats = count(outcomes.is_repeat)
    gains, gain_squares = total(outcomes.gain), total(outcomes.gain**2)
    values, value_squares = total(value), total(value**2)
    return [
        Scores(
            hit_ratio=wilson(n_hits[i] / n, n=n) if (n := n_pairs[i]) else None,
            ndcg=_mean(gains[i], gain_squares[i], n=n, n_hits=n_hits[i]),
            objective=_mean(values[i], value_squares[i], n=n, n_hits=n_hits[i]),
            n_pairs=n,
            n_unknown_query=n_unknown_query[i],
            n_unknown_target=n_unknown_target[i],
            n_repeats=n_repeats[i],
        )
        for i in range(n_groups)
    ]


def wilson(mean: float, *, n: int) -> Estimate:
    """The mean of n values in [0, 1] with Wilson's 95 % interval; exact in form for a share, wide for other values.

    >>> round(wilson(0.0, n=100).high, 4)
    0.037
    """
    shrunk = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
    return _within_unit(mean, low=shrunk - reach, high=shrunk + reach, n=n)


def _mean(total: float, total_squares: float, *, n: int, n_hits: int) -> Estimate | None:
    """The mean of n values in [0, 1], of which the misses are 0, with its interval."""
    if n == 0:
        return None
    mean = min(total / n, 1.0)
    if min(n_hits, n - n_hits) < FEWEST_FOR_NORMAL:
        return wilson(mean, n=n)
    variance = (total_squares - n * mean**2) / (n - 1)
    reach = Z * sqrt(variance / n)
    return _within_unit(mean, low=mean - reach, high=mean + reach, n=n)


def _within_unit(mean: float, *, low: float, high: float, n: int) -> Estimate:
    """Rounding may put a Wilson limit a hair inside the mean at 0 or 1; the limits are kept around it."""
    return Estimate(mean, max(0.0, min(low, mean)), min(1.0, max(high, mean)), n)


def _breadth(
    lists: Lists, weights: NDArray[np.int64], training_counts: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """Coverage and popularity of the lists that answer a pair; None when they hold no song."""
    is_recommended = np.zeros(len(training_counts), dtype=np.bool_)
    n_listed = n_plays = 0
    for column in lists.T:  # memory stays O(n_queries)
        is_listed = (column >= 0) & (weights > 0)
        songs, weight = column[is_listed], weights[is_listed]
        is_recommended[songs] = True
        n_listed += int(weight.sum())
        n_plays += int(training_counts[songs] @ weight)
    if n_listed == 0:
        return None, None
    return float(is_recommended.mean()), n_plays / n_listed / int(training_counts.max())


def artist_share(lists: Lists, weights: NDArray[np.int64], artists: NDArray[np.int32]) -> float | None:
    """How often two songs of a list have the same artist, in [0, 1]; None when no list has two songs with artists.

    >>> lists = np.array([[0, 1, 2], [3, -1, -1]])
    >>> artist_share(lists, np.array([1, 1]), np.array([7, 7, 8, 8], dtype=np.int32))
    0.3333333333333333
    """
    total, weight = 0.0, 0
    for start in range(0, len(lists), LISTS_AT_ONCE):
        block = lists[start : start + LISTS_AT_ONCE]
        of_song = np.sort(np.where(block >= 0, artists[block], -1), axis=1)
        is_artist = of_song >= 0
        place = np.arange(block.shape[1])
        begins = np.where(np.diff(of_song, axis=1, prepend=-2) != 0, place, 0)
        n_same = np.where(is_artist, place - np.maximum.accumulate(begins, axis=1), 0).sum(axis=1)
        n_songs = is_artist.sum(axis=1)
        n_pairs = n_songs * (n_songs - 1) // 2
        counting = np.where(n_pairs > 0, weights[start : start + LISTS_AT_ONCE], 0)
        total += float(counting @ (n_same / np.maximum(n_pairs, 1)))
        weight += int(counting.sum())
    return total / weight if weight else None
