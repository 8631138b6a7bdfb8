import pytest

from app.domain.errors import InvalidRequest
from app.domain.evaluating import wilson
from app.domain.tuning.reporting import Report, Reported


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


def test_a_report_is_a_measurement_of_every_segment_that_it_names() -> None:
    report = Report(
        overall=Reported(n_pairs=50, objective=0.3),
        segments={"ar": Reported(n_pairs=20, hit_ratio=0.5, ndcg=0.25)},
        coverage=0.4,
    )
    measured = report.measurement(k=10, hr_weight=1.0)
    assert (measured.k, measured.coverage, measured.popularity) == (10, 0.4, None)
    assert measured.overall.objective == wilson(0.3, n=50)
    assert measured.segments["ar"].objective == wilson(0.5, n=20)
