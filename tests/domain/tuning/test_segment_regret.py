"""What a segment gives up by living with the one winner, and when a model of its own is worth it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from app.domain.measurement import Estimate, Measurement
from app.domain.pairing import PairRanks
from app.domain.tuning.objectives import MIN_PAIRS
from app.domain.tuning.segment_regret import SegmentRegret, Verdict, ranked_on, score_on, segment_regrets
from app.domain.tuning.trial import Method, Trial, TrialOutcome, TrialRole, TrialState
from tests.values import NOON, measurement

N = 200


def ranks(n_hits: int, n: int = N) -> PairRanks:
    """Pairs of one segment, of which the first are hits at rank 1."""
    return PairRanks((np.arange(n) < n_hits).astype(np.uint8), np.zeros(n, np.uint8), ("ar",))


def trial(number: int, n_hits: int, n: int = N) -> Trial:
    value = n_hits / n
    base = measurement(value)
    of_segment = replace(base.overall, objective=Estimate(value, value, value, n), n_pairs=n)
    measured = Measurement(k=10, overall=base.overall, segments={"ar": of_segment})
    return Trial(
        id=f"trl_{number}",
        study_id="std_1",
        role=TrialRole.SEARCH,
        number=number,
        name=f"trial-{number}",
        method=Method.WORD2VEC,
        parameters=None,
        state=TrialState.COMPLETED,
        created_at=NOON,
        outcome=TrialOutcome(validation=measured, has_ranks=True),
    )


def regret(
    hits: list[int],
    *,
    winner: int = 0,
    n: int = N,
    min_effect: float = 0.0,
    kept: Mapping[str, PairRanks] | None = None,
) -> SegmentRegret:
    trials = [trial(number, n_hits, n) for number, n_hits in enumerate(hits)]
    known = {one.id: ranks(n_hits, n) for one, n_hits in zip(trials, hits, strict=True)} if kept is None else kept
    (found,) = segment_regrets(
        trials, trials[winner], ranks_of=lambda one: known.get(one.id), hr_weight=0.5, min_effect=min_effect
    )
    return found


def test_a_trial_that_is_clearly_better_here_is_worth_a_model() -> None:
    found = regret([60, 80, 10])
    assert found.verdict is Verdict.WORTH_IT
    assert (found.segment, found.best.number, found.winner.number, found.n_pairs) == ("ar", 1, 0, N)
    assert found.regret is not None
    assert found.regret.value == pytest.approx(0.1)
    assert found.regret.low > 0


def test_the_more_trials_it_was_picked_from_the_wider_the_interval() -> None:
    few, many = regret([60, 67]), regret([60, 67, *[0] * 30])
    assert few.regret is not None
    assert many.regret is not None
    assert (few.n_compared, many.n_compared) == (1, 31)
    assert few.regret.level == pytest.approx(0.95)
    assert many.regret.level == pytest.approx(1 - 0.05 / 31)
    assert (few.verdict, many.verdict) == (Verdict.WORTH_IT, Verdict.NO_EVIDENCE)


def test_where_the_winner_is_best_there_is_nothing_to_gain() -> None:
    for hits in ([60, 20], [60, 60]):
        found = regret(hits)
        assert (found.verdict, found.regret) == (Verdict.NOT_WORTH_IT, None)
        assert found.best.number == 0


def test_a_gain_below_the_least_effect_is_not_worth_it() -> None:
    assert regret([60, 62], min_effect=0.2).verdict is Verdict.NOT_WORTH_IT
    assert regret([60, 80], min_effect=0.2).verdict is Verdict.NOT_WORTH_IT
    assert regret([60, 80], min_effect=0.1).verdict is Verdict.NO_EVIDENCE


def test_few_pairs_tell_nothing() -> None:
    found = regret([0, 20], n=MIN_PAIRS - 1)
    assert found.verdict is Verdict.TOO_FEW_PAIRS


def test_without_the_ranks_of_both_it_is_not_known() -> None:
    found = regret([60, 80], kept={"trl_0": ranks(60)})
    assert (found.verdict, found.regret) == (Verdict.UNKNOWN, None)


def test_trials_that_are_alike_are_seldom_worth_a_model() -> None:
    """The best of 24 that only luck tells apart: 5 % at most are called worth it."""
    rng = np.random.default_rng(0)
    n_worth = 0
    for _ in range(200):
        hits = rng.random((24, 300)) < 0.2
        trials = [trial(number, int(row.sum()), 300) for number, row in enumerate(hits)]
        kept = {
            one.id: PairRanks(row.astype(np.uint8), np.zeros(300, np.uint8), ("ar",))
            for one, row in zip(trials, hits, strict=True)
        }
        (found,) = segment_regrets(trials, trials[0], ranks_of=partial(_of, kept), hr_weight=0.5, min_effect=0.0)
        n_worth += found.verdict is Verdict.WORTH_IT
    assert n_worth <= 10


def _of(kept: Mapping[str, PairRanks], one: Trial) -> PairRanks:
    return kept[one.id]


def test_only_completed_trials_of_the_search_are_compared() -> None:
    winner = trial(0, 60)
    others = [
        replace(trial(1, 190), role=TrialRole.BASELINE),
        replace(trial(2, 190), state=TrialState.RUNNING),
        replace(trial(3, 190), outcome=None),
    ]
    (found,) = segment_regrets([winner, *others], winner, ranks_of=lambda _: None, hr_weight=0.5, min_effect=0.0)
    assert found.best is winner
    assert found.n_compared == 0


def test_a_segment_without_pairs_is_not_reported() -> None:
    one = trial(0, 60)
    assert one.outcome is not None
    assert one.outcome.validation is not None
    unmeasured = replace(one.outcome.validation.segments["ar"], objective=None)
    empty = replace(one.outcome.validation, segments={"ar": unmeasured})
    one = replace(one, outcome=replace(one.outcome, validation=empty))
    assert segment_regrets([one], one, ranks_of=lambda _: None, hr_weight=0.5, min_effect=0.0) == []
    assert score_on(one, "en") is None


def test_trials_are_ranked_on_a_segment() -> None:
    trials = [trial(0, 10), trial(1, 30), trial(2, 30)]
    assert [one.number for one, _ in ranked_on(trials, "ar")] == [1, 2, 0]
    assert ranked_on(trials, "en") == []
