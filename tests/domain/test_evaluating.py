from dataclasses import dataclass
from math import log2, nextafter, sqrt
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from app.domain import evaluating
from app.domain.embedding import Rows, ScoringRows
from app.domain.evaluating import Z, answerable_queries, artist_share, evaluate, evaluate_lists, wilson
from app.domain.listening import Pairs, Repeats
from app.domain.measurement import Estimate, Measurement
from app.domain.pairing import PairRanks, pair_values
from tests.factories import pairs
from tests.fakes.neighbour_search import FullRanking


def descending(n_songs: int, *, unknown: tuple[int, ...] = ()) -> ScoringRows:
    """Rows by which every query finds songs 0, 1, 2, ... in this order."""
    is_known = np.ones(n_songs, dtype=np.bool_)
    is_known[list(unknown)] = False
    songs = np.arange(n_songs, 0, -1, dtype=np.float32)[:, np.newaxis]
    return ScoringRows(Rows(np.ones_like(songs)), Rows(songs), is_known)


def alike(vectors: NDArray[np.float64]) -> ScoringRows:
    """Queries and songs with the same vectors, all known."""
    rows = Rows(vectors.astype(np.float32))
    return ScoringRows(rows, rows, np.ones(len(rows), dtype=np.bool_))


def measured(rows: ScoringRows, held_out: Pairs, **changes: Any) -> Measurement:  # noqa: ANN401
    arguments: dict[str, Any] = {
        "search": FullRanking(),
        "k": 3,
        "hr_weight": 0.5,
        "repeats": Repeats.DROP,
        "segments": (),
        "training_counts": np.arange(len(rows.is_known), 0, -1),
    }
    return evaluate(rows, held_out, **(arguments | changes))


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


# ── The rules, by name ───────────────────────────────────────────────────────────────────────────


def test_hit_ratio_ndcg_and_objective_of_ranks_one_three_and_none() -> None:
    scores = measured(descending(6), pairs((0, 1), (5, 2), (5, 3)), hr_weight=0.25).overall
    assert value(scores.hit_ratio) == pytest.approx(2 / 3, abs=1e-15)
    assert value(scores.ndcg) == pytest.approx((1 + 1 / log2(4)) / 3, abs=1e-15)
    assert value(scores.objective) == pytest.approx(0.25 * 2 / 3 + 0.75 * 0.5, abs=1e-15)
    assert scores.n_pairs == 3


def test_query_is_left_out_by_identity_wherever_it_ranks() -> None:
    """Query 1 ranks second in its own list: its target 3 is third, not fourth."""
    assert value(measured(descending(6), pairs((1, 3))).overall.ndcg) == 1 / log2(1 + 3)


def test_a_song_with_the_querys_own_vector_is_recommended() -> None:
    twins = alike(np.ones((3, 2)))
    assert value(measured(twins, pairs((2, 0)), k=1).overall.ndcg) == 1.0


def test_equal_scores_go_to_the_lower_row() -> None:
    ties = alike(np.zeros((5, 2)))
    assert value(measured(ties, pairs((0, 3))).overall.ndcg) == 1 / log2(1 + 3)
    assert value(measured(ties, pairs((0, 4))).overall.ndcg) == 0.0


def test_unknown_songs_are_never_recommended() -> None:
    search = FullRanking()
    measurement = measured(descending(6, unknown=(0, 2)), pairs((1, 3)), search=search)
    assert value(measurement.overall.ndcg) == 1.0
    assert search.n_songs == 4


@pytest.mark.parametrize(
    ("pair", "n_unknown_query", "n_unknown_target"), [((4, 1), 1, 0), ((1, 4), 0, 1), ((4, 5), 1, 1), ((2, 1), 0, 0)]
)
def test_unknown_query_or_target_is_a_miss_and_counted(
    pair: tuple[int, int], n_unknown_query: int, n_unknown_target: int
) -> None:
    scores = measured(descending(6, unknown=(4, 5)), pairs((0, 1), pair)).overall
    assert (scores.n_unknown_query, scores.n_unknown_target) == (n_unknown_query, n_unknown_target)
    assert scores.n_pairs == 2
    assert value(scores.hit_ratio) == (0.5 if n_unknown_query or n_unknown_target else 1.0)


def test_a_listed_song_that_is_not_known_is_no_hit() -> None:
    """A plain baseline may list for a query or a target that training never saw."""
    is_known = np.array([True, True, False, False])
    lists, queries = np.array([[2, 1], [0, 1]]), np.array([0, 3])
    held_out = pairs((0, 2), (3, 0), (0, 1))
    scores = evaluate_lists(
        lists,
        queries,
        held_out,
        is_known=is_known,
        hr_weight=0.5,
        repeats=Repeats.DROP,
        segments=(),
        training_counts=np.array([5, 4, 0, 0]),
    ).overall
    assert (scores.n_unknown_query, scores.n_unknown_target) == (1, 1)
    assert value(scores.ndcg) == pytest.approx(1 / log2(3) / 3, abs=1e-15)


@pytest.mark.parametrize(
    ("repeats", "n_pairs", "hit_ratio"), [(Repeats.DROP, 2, 1 / 2), (Repeats.HIT, 4, 3 / 4), (Repeats.MISS, 4, 1 / 4)]
)
def test_a_pair_whose_query_is_its_target_follows_the_repeats_rule(
    repeats: Repeats, n_pairs: int, hit_ratio: float
) -> None:
    """Song 5 is not known: a repeat of it is a repeat alone."""
    held_out = pairs((0, 1), (0, 4), (2, 2), (5, 5))
    scores = measured(descending(6, unknown=(5,)), held_out, repeats=repeats).overall
    assert (scores.n_pairs, scores.n_repeats) == (n_pairs, 2)
    assert (scores.n_unknown_query, scores.n_unknown_target) == (0, 0)
    assert value(scores.hit_ratio) == value(scores.ndcg) == value(scores.objective) == hit_ratio


def test_repeats_are_not_searched_for() -> None:
    search = FullRanking()
    assert answerable_queries(pairs((2, 2), (1, 0), (1, 3))).tolist() == [1]
    measured(descending(4), pairs((2, 2), (1, 0), (1, 3)), search=search, repeats=Repeats.MISS)
    assert search.n_queries == 1


def test_each_segment_is_measured_over_its_own_pairs() -> None:
    held_out = pairs((0, 1, 0), (0, 4, 2), (0, 2, 2), (3, 3, 2), (5, 0, 0))
    measurement = measured(descending(6, unknown=(5,)), held_out, segments=("rock", "none", "soul"))
    rock, none, soul = measurement.segments.values()
    assert list(measurement.segments) == ["rock", "none", "soul"]
    assert (rock.n_pairs, rock.n_unknown_query, rock.n_repeats, value(rock.hit_ratio)) == (2, 1, 0, 0.5)
    assert (soul.n_pairs, soul.n_unknown_query, soul.n_repeats, value(soul.hit_ratio)) == (2, 0, 1, 0.5)
    assert (none.n_pairs, none.hit_ratio, none.ndcg, none.objective) == (0, None, None, None)
    assert measurement.overall.n_pairs == 4


def test_coverage_is_the_share_of_the_vocabulary_that_is_recommended() -> None:
    """Lists: 0 -> 1 2, 3 -> 0 1; of 8 songs 3 are recommended. Song 7 is not known and its list is empty."""
    measurement = measured(descending(8, unknown=(7,)), pairs((0, 1), (3, 0), (7, 1), (6, 6)), k=2)
    assert measurement.coverage == 3 / 8


def test_popularity_weighs_a_list_by_the_pairs_it_answers() -> None:
    """Lists: 0 -> 1 2 (twice), 3 -> 0 1; plays 10 6 2 1 1."""
    counts = np.array([10, 6, 2, 1, 1])
    held_out = pairs((0, 1), (3, 0), (0, 4))
    measurement = measured(descending(5), held_out, k=2, training_counts=counts)
    assert measurement.popularity == pytest.approx((2 * (6 + 2) + (10 + 6)) / 6 / 10, abs=1e-15)


def test_songs_missing_from_a_short_list_do_not_count_for_popularity() -> None:
    measurement = measured(descending(3), pairs((0, 1)), k=5, training_counts=np.array([8, 4, 2]))
    assert measurement.popularity == pytest.approx((4 + 2) / 2 / 8, abs=1e-15)
    assert measurement.coverage == 2 / 3


@pytest.mark.parametrize("held_out", [pairs(), pairs((1, 1))], ids=["no_pairs", "repeats_alone"])
def test_without_pairs_there_is_no_number(held_out: Pairs) -> None:
    measurement = measured(descending(3), held_out)
    assert measurement.overall.n_pairs == 0
    assert measurement.overall.hit_ratio is measurement.overall.ndcg is measurement.overall.objective is None
    assert measurement.coverage is measurement.popularity is None


def test_a_model_that_knows_no_query_recommends_nothing() -> None:
    search = FullRanking()
    measurement = measured(descending(3, unknown=(0, 1)), pairs((0, 2), (1, 2)), search=search)
    assert measurement.coverage is measurement.popularity is None
    assert value(measurement.overall.hit_ratio) == 0.0
    assert search.n_queries == 0


def test_a_query_without_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="no list"):
        evaluate_lists(
            np.array([[1]]),
            np.array([0]),
            pairs((0, 1), (2, 1)),
            is_known=np.ones(3, dtype=np.bool_),
            hr_weight=0.5,
            repeats=Repeats.DROP,
            segments=(),
            training_counts=np.ones(3, dtype=np.int64),
        )


# ── Intervals ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("n_hits", "n"), [(0, 1), (1, 1), (0, 40), (3, 40), (20, 40), (40, 40), (1234, 9159)])
def test_hit_ratio_has_wilsons_interval(n_hits: int, n: int) -> None:
    expected = binomtest(n_hits, n).proportion_ci(method="wilson")
    estimate = wilson(n_hits / n, n=n)
    assert (estimate.value, estimate.n) == (n_hits / n, n)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.low < estimate.high


def test_ndcg_and_objective_have_normal_intervals_over_pairs() -> None:
    """Ranks 1, 2, 3 and none, each of them 5 times."""
    scores = measured(descending(6), pairs(*[(0, 1), (0, 2), (0, 3), (0, 5)] * 5), hr_weight=0.3).overall
    gains = [1 / log2(1 + rank) for rank in (1, 2, 3)] * 5 + [0.0] * 5
    values = [0.3 * (gain > 0) + 0.7 * gain for gain in gains]
    for estimate, sample in ((scores.ndcg, gains), (scores.objective, values)):
        reach = Z * stdev(sample) / sqrt(20)
        mean = fmean(sample)
        expected = (mean, mean - reach, min(mean + reach, 1.0))
        assert estimate is not None
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(expected, abs=1e-14)
        assert estimate.n == 20


@pytest.mark.parametrize(("n_hits", "n_misses"), [(0, 10), (4, 10), (10, 4), (10, 0), (1, 0)])
def test_few_hits_or_few_misses_take_wilsons_interval_at_the_mean(n_hits: int, n_misses: int) -> None:
    scores = measured(descending(6), pairs(*[(0, 2)] * n_hits, *[(0, 5)] * n_misses)).overall
    n = n_hits + n_misses
    mean = n_hits / n / log2(3)
    assert scores.ndcg is not None
    assert scores.ndcg == wilson(scores.ndcg.value, n=n)
    assert scores.ndcg.value == pytest.approx(mean, abs=1e-14)
    assert 0.0 <= scores.ndcg.low < scores.ndcg.high <= 1.0


def test_a_normal_interval_that_would_reach_below_zero_ends_there() -> None:
    """One target first, four tenth, 300 never: the mean is 0.0071, 1.96 standard errors are 0.0074."""
    ndcg = measured(descending(13), pairs((0, 1), *[(0, 10)] * 4, *[(0, 12)] * 300), k=10).overall.ndcg
    assert ndcg is not None
    assert ndcg.low == 0.0
    assert ndcg.high == pytest.approx(0.0145, abs=1e-4)


def test_wilson_keeps_its_mean_inside_against_rounding() -> None:
    for mean in (0.0, nextafter(0.0, 1.0), 1e-17, 1.0 - 1e-16, 1.0):
        estimate = wilson(mean, n=7)
        assert 0.0 <= estimate.low <= mean <= estimate.high <= 1.0


@pytest.mark.parametrize("hit_share", [0.02, 0.2, 0.9])
def test_intervals_hold_the_truth_at_least_nineteen_times_in_twenty(hit_share: float) -> None:
    """Simulated: 150 pairs, a hit has a uniform rank in 1..10. Tolerance: four standard errors of 2,000 draws."""
    rng = np.random.default_rng(20)
    n_draws, n, k = 2_000, 150, 10
    true_gain = hit_share * fmean(1 / log2(1 + rank) for rank in range(1, k + 1))
    lists = np.arange(1, k + 1)[np.newaxis]
    queries = np.array([0])
    n_held = {"hit_ratio": 0, "ndcg": 0}
    for _ in range(n_draws):
        target = np.where(rng.random(n) < hit_share, rng.integers(1, k + 1, n), k + 1).astype(np.int32)
        zeros = np.zeros(n, dtype=np.int32)
        scores = evaluate_lists(
            lists,
            queries,
            Pairs(zeros, target, zeros),
            is_known=np.ones(k + 2, dtype=np.bool_),
            hr_weight=0.5,
            repeats=Repeats.DROP,
            segments=(),
            training_counts=np.ones(k + 2, dtype=np.int64),
        ).overall
        assert scores.hit_ratio is not None
        assert scores.ndcg is not None
        n_held["hit_ratio"] += scores.hit_ratio.low <= hit_share <= scores.hit_ratio.high
        n_held["ndcg"] += scores.ndcg.low <= true_gain <= scores.ndcg.high
    for n_holding in n_held.values():
        assert n_holding / n_draws >= 0.93


# ── What became of each pair, and whose songs are recommended ───────────────────────────────────


@pytest.mark.parametrize(("repeats", "of_repeat"), [(Repeats.DROP, 255), (Repeats.HIT, 1), (Repeats.MISS, 0)])
def test_the_rank_of_each_pair_is_told(repeats: Repeats, of_repeat: int) -> None:
    told: list[PairRanks] = []
    held_out = pairs((0, 1, 1), (5, 2, 0), (5, 3, 0), (4, 4, 1))
    scores = measured(descending(6), held_out, repeats=repeats, segments=("ar", "en"), on_ranks=told.append)
    (ranks,) = told
    assert ranks.ranks.tolist() == [1, 3, 0, of_repeat]
    assert (ranks.segment.tolist(), ranks.segments) == ([1, 0, 0, 1], ("ar", "en"))
    values = pair_values(ranks.ranks, hr_weight=0.5)
    assert np.nanmean(values) == pytest.approx(value(scores.overall.objective))


def test_ranks_without_segments_are_of_none() -> None:
    told: list[PairRanks] = []
    measured(descending(6), pairs((0, 1)), on_ranks=told.append)
    assert (told[0].segment.tolist(), told[0].segments) == ([0], ())


def artists(*numbers: int) -> NDArray[np.int32]:
    return np.array(numbers, dtype=np.int32)


def test_artist_share_is_that_of_the_pairs_of_songs_with_one_artist() -> None:
    """Of songs 1, 2 and 3 two have the same artist: one pair of three; of 0, 1 and 2 none has."""
    share = measured(descending(4), pairs((0, 1)), artists=artists(0, 1, 2, 2)).artist_share
    assert share == pytest.approx(1 / 3)
    assert measured(descending(4), pairs((3, 1)), artists=artists(0, 1, 2, 2)).artist_share == 0.0


def test_songs_without_an_artist_and_lists_without_two_do_not_count() -> None:
    lists = np.array([[0, 1, 2], [0, 3, -1], [-1, -1, -1]])
    assert artist_share(lists, np.ones(3, dtype=np.int64), artists(5, 5, -1, -1)) == 1.0
    assert artist_share(lists, np.array([0, 3, 1]), artists(5, 5, -1, -1)) is None
    assert measured(descending(4), pairs((0, 1))).artist_share is None


def test_a_list_weighs_as_many_pairs_as_it_answers() -> None:
    lists = np.array([[0, 1], [1, 2]])
    assert artist_share(lists, np.array([3, 1]), artists(5, 5, 6)) == 0.75


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_artist_share_is_what_comparing_each_pair_gives(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(evaluating, "LISTS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    lists, of_song = rng.integers(-1, 30, (50, 6)), rng.integers(-1, 5, 30).astype(np.int32)
    weights = rng.integers(0, 4, 50)
    shares, counted = [], []
    for row, weight in zip(lists, weights.tolist(), strict=True):
        known = [of_song[song] for song in row if song >= 0 and of_song[song] >= 0]
        met = [one == other for place, one in enumerate(known) for other in known[:place]]
        if met and weight:
            shares.append(fmean(met))
            counted.append(weight)
    assert artist_share(lists, weights, of_song) == pytest.approx(np.average(shares, weights=counted))


# ── Against a reference that shares nothing with it ──────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    rows: ScoringRows
    held_out: Pairs
    k: int
    hr_weight: float
    repeats: Repeats
    counts: NDArray[np.int64]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n_songs = draw(st.integers(2, 25))
    song = st.integers(0, n_songs - 1)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):  # many equal scores
        queries, songs = (rng.integers(-2, 3, (n_songs, 3)).astype(np.float32) for _ in range(2))
    else:
        queries, songs = (rng.normal(size=(n_songs, 3)).astype(np.float32) for _ in range(2))
    is_known = rng.random(n_songs) < draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    return Case(
        rows=ScoringRows(Rows(queries), Rows(songs), is_known),
        held_out=pairs(*draw(st.lists(st.tuples(song, song, st.integers(0, 2)), max_size=40))),
        k=draw(st.integers(1, 12)),
        hr_weight=draw(st.floats(0, 1)),
        repeats=draw(st.sampled_from(Repeats)),
        counts=np.where(is_known, rng.integers(1, 50, n_songs), 0),
    )


def reference_list(case: Case, query: int) -> list[int]:
    if not case.rows.is_known[query]:
        return []
    q, songs = case.rows.queries.matrix[query].astype(np.float64), case.rows.songs.matrix.astype(np.float64)
    score = {
        song: float(q @ songs[song])
        for song in range(len(case.rows.is_known))
        if case.rows.is_known[song] and song != query
    }
    return sorted(score, key=lambda song: (-score[song], song))[: case.k]


def reference(case: Case, segment: int | None) -> dict[str, float | int | None]:
    gains, hits = [], []
    n_repeats = n_unknown_query = n_unknown_target = 0
    for query, target, of in zip(*(row.tolist() for row in _rows(case.held_out)), strict=True):
        if segment not in (None, of):
            continue
        if query == target:
            n_repeats += 1
            if case.repeats is not Repeats.DROP:
                hits.append(float(case.repeats is Repeats.HIT))
                gains.append(hits[-1])
            continue
        n_unknown_query += not case.rows.is_known[query]
        n_unknown_target += not case.rows.is_known[target]
        recommended = reference_list(case, query)
        hits.append(float(target in recommended))
        gains.append(1 / log2(2 + recommended.index(target)) if hits[-1] else 0.0)
    w = case.hr_weight
    return {
        "hit_ratio": fmean(hits) if hits else None,
        "ndcg": fmean(gains) if gains else None,
        "objective": w * fmean(hits) + (1 - w) * fmean(gains) if hits else None,
        "n_pairs": len(hits),
        "n_unknown_query": n_unknown_query,
        "n_unknown_target": n_unknown_target,
        "n_repeats": n_repeats,
    }


def _rows(held_out: Pairs) -> tuple[NDArray[np.int32], ...]:
    return held_out.query, held_out.target, held_out.segment


@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_it_agrees_with_a_reference_in_plain_python(case: Case) -> None:
    measurement = evaluate(
        case.rows,
        case.held_out,
        search=FullRanking(),
        k=case.k,
        hr_weight=case.hr_weight,
        repeats=case.repeats,
        segments=("a", "b", "c"),
        training_counts=case.counts,
    )
    for segment, scores in ((None, measurement.overall), *enumerate(measurement.segments.values())):
        for name, expected in reference(case, segment).items():
            got = getattr(scores, name)
            if isinstance(got, Estimate):
                assert got.value == pytest.approx(expected, abs=1e-9)
                assert 0.0 <= got.low <= got.value <= got.high <= 1.0
                assert got.low < got.high
                assert got.n == scores.n_pairs
            else:
                assert got == expected

    recommended = [
        song
        for query, target in zip(case.held_out.query.tolist(), case.held_out.target.tolist(), strict=True)
        if query != target
        for song in reference_list(case, query)
    ]
    assert measurement.k == case.k
    if not recommended:
        assert measurement.coverage is measurement.popularity is None
    else:
        assert measurement.coverage == pytest.approx(len(set(recommended)) / len(case.counts), abs=1e-9)
        plays = fmean(int(case.counts[song]) for song in recommended)
        assert measurement.popularity == pytest.approx(plays / int(case.counts.max()), abs=1e-9)
