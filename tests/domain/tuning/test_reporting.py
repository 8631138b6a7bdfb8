from dataclasses import replace
from typing import Any

import pytest

from app.domain.errors import InvalidRequest
from app.domain.evaluating import wilson
from app.domain.tuning.constraints import parse
from app.domain.tuning.objectives import Aggregate, ObjectiveName
from app.domain.tuning.reporting import Report, Reported
from app.domain.tuning.study import Objective, StudySpec
from tests.values import study_spec


def test_an_objective_is_kept_as_it_was_reported() -> None:
    scores = Reported(n_pairs=50, objective=0.3).scores(hr_weight=0.5)
    assert scores.objective == wilson(0.3, n=50)
    assert (scores.hit_ratio, scores.ndcg, scores.n_pairs) == (None, None, 50)


def test_an_objective_is_made_of_hit_ratio_and_ndcg_by_the_studys_weight() -> None:
    scores = Reported(n_pairs=50, hit_ratio=0.4, ndcg=0.2).scores(hr_weight=0.75)
    assert scores.objective is not None
    assert scores.objective.value == pytest.approx(0.35)
    assert scores.hit_ratio == wilson(0.4, n=50)
    assert scores.ndcg == wilson(0.2, n=50)


def test_what_was_not_known_is_kept_as_counted() -> None:
    scores = Reported(n_pairs=9, objective=0.0, n_unknown_query=3, n_unknown_target=2, n_repeats=1).scores(hr_weight=1)
    assert (scores.n_unknown_query, scores.n_unknown_target, scores.n_repeats) == (3, 2, 1)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({}, ""),
        ({"objective": 0.1, "hit_ratio": 0.1}, ""),
        ({"objective": 0.1, "ndcg": 0.1}, ""),
        ({"hit_ratio": 0.1}, ""),
        ({"ndcg": 0.1}, ""),
        ({"objective": 0.1, "n_pairs": 0}, "/n_pairs"),
        ({"objective": 1.1}, "/objective"),
        ({"objective": float("nan")}, "/objective"),
        ({"hit_ratio": -0.1, "ndcg": 0.1}, "/hit_ratio"),
        ({"hit_ratio": 0.1, "ndcg": 1.1}, "/ndcg"),
    ],
)
def test_what_is_no_report_is_refused_where_it_is_wrong(changes: dict[str, float], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Reported(**{"n_pairs": 5, **changes})  # type: ignore[arg-type]
    assert refused.value.pointer == pointer


def report(**changes: Any) -> Report:  # noqa: ANN401 - its fields
    overall = Reported(n_pairs=50, hit_ratio=0.5, ndcg=0.25)
    segments = {
        "ar": Reported(n_pairs=40, hit_ratio=0.25, ndcg=0.25),
        "en": Reported(n_pairs=30, objective=0.75),
        "few": Reported(n_pairs=3, objective=0.0),
    }
    return replace(Report(overall=overall, segments=segments), **changes)


def spec(**changes: Any) -> StudySpec:  # noqa: ANN401 - its fields
    return replace(study_spec("dat_1"), **changes)


def test_a_report_is_an_outcome_with_every_segment_that_it_names() -> None:
    told = report(coverage=0.4, artist_share=0.1, times_s={"train": 2.0}, model_bytes=9)
    outcome = told.outcome(spec(objective=Objective(hr_weight=1.0)), pointer="")
    measured = outcome.validation
    assert measured is not None
    assert (measured.k, measured.coverage, measured.popularity, measured.artist_share) == (10, 0.4, None, 0.1)
    assert measured.overall.objective == wilson(0.5, n=50)
    assert measured.segments["ar"].objective == wilson(0.25, n=40)
    assert measured.judged == measured.overall
    assert (outcome.times_s, outcome.model_bytes, outcome.vectors_sha256) == ({"train": 2.0}, 9, None)


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (Objective(aggregate=Aggregate.MACRO), 0.5),
        (Objective(aggregate=Aggregate.WORST_SEGMENT), 0.25),
        (Objective(aggregate=Aggregate.WEIGHTS, weights={"ar": 1.0, "en": 3.0}), 0.625),
    ],
)
def test_the_objective_is_made_of_the_segments_where_the_study_says_so(objective: Objective, value: float) -> None:
    measured = report().outcome(spec(objective=objective), pointer="").validation
    assert measured is not None
    assert measured.judged.objective is not None
    assert measured.judged.objective.value == pytest.approx(value)
    assert report().scores(spec(objective=objective), pointer="").objective == measured.judged.objective


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (Objective(aggregate=Aggregate.MACRO), "at least 30 pairs"),
        (Objective(aggregate=Aggregate.WEIGHTS, weights={"ar": 1.0}), "report 'ar'"),
    ],
)
def test_segments_that_the_objective_is_made_of_have_to_be_told(objective: Objective, told: str) -> None:
    without = report(segments={"few": Reported(n_pairs=3, objective=0.0)})
    for ask, pointer in ((without.outcome, "/x/measurement/segments"), (without.scores, "/x/segments")):
        with pytest.raises(InvalidRequest, match=told) as refused:
            ask(spec(objective=objective), pointer="/x")
        assert refused.value.pointer == pointer


def test_both_of_two_objectives_have_to_be_told() -> None:
    both = spec(objectives=(ObjectiveName.HR_NDCG, ObjectiveName.COVERAGE))
    assert report(coverage=0.4).outcome(both, pointer="").validation is not None
    with pytest.raises(InvalidRequest, match="coverage is one") as refused:
        report().outcome(both, pointer="/x")
    assert refused.value.pointer == "/x/measurement/coverage"


@pytest.mark.parametrize(
    ("constraint", "pointer", "changes"),
    [
        ("train_seconds <= 3 * baseline", "/x/train_s", {"times_s": {"train": 1.0}}),
        ("evaluate_seconds <= 3", "/x/evaluate_s", {"times_s": {"evaluate": 1.0}}),
        ("model_bytes <= 2e9", "/x/model_bytes", {"model_bytes": 9}),
        ("coverage >= 0.9 * baseline", "/x/measurement/coverage", {"coverage": 0.1}),
        ("popularity <= 0.1", "/x/measurement/popularity", {"popularity": 0.3}),
    ],
)
def test_what_constraints_look_at_has_to_be_told(constraint: str, pointer: str, changes: dict[str, Any]) -> None:
    constrained = spec(constraints=(parse(constraint),), baselines=True)
    with pytest.raises(InvalidRequest, match=constraint.split(maxsplit=1)[0]) as refused:
        report().outcome(constrained, pointer="/x")
    assert refused.value.pointer == pointer
    assert report(**changes).outcome(constrained, pointer="/x").validation is not None
