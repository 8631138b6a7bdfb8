"""Verdicts over what became of each pair: by the study's aggregate, and with whatever has been kept."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from app.adapters.ranks import read_ranks, write_ranks
from app.domain.measurement import Measurement
from app.domain.pairing import PairRanks
from app.domain.tuning.aggregating import aggregated
from app.domain.tuning.objectives import Aggregate
from app.domain.tuning.study import Objective, Study
from app.domain.tuning.trial import Method, TrialOutcome, TrialRole
from app.services.artifacts import RANKS
from app.services.trials import TrialWork
from app.services.verdicts import VerdictReport, VerdictService
from tests.services.conftest import House
from tests.values import N_OF_SEGMENT as N
from tests.values import measured_on, ranks_of, study_spec

SEGMENTS = {"ar": N, "en": N}
Hits = Sequence[int]

MACRO = Objective(aggregate=Aggregate.MACRO)
WORST = Objective(aggregate=Aggregate.WORST_SEGMENT)
ONE_SEGMENT = Objective(aggregate=Aggregate.WEIGHTS, weights={"en": 2.0})


@pytest.fixture
def verdicts(house: House) -> VerdictService:
    return VerdictService(house.units, store=house.store, read_ranks=partial(read_ranks, pair_set="test"))


def judged(
    house: House,
    verdicts: VerdictService,
    *,
    winner: Hits,
    default: Hits,
    popular: Hits = (5, 5),
    plain: Hits = (5, 5),
    objective: Objective | None = None,
    keeps: Callable[[TrialWork], bool] = lambda _: True,
) -> VerdictReport:
    """A study of one trial whose models have so many hits in each segment of the test pairs."""
    spec = study_spec(house.ready_dataset(SEGMENTS).id, n_initial=1, n_iterations=0, baselines=True)
    study = house.studies.create(replace(spec, objective=objective or Objective()))
    assert isinstance(study, Study)
    while (work := house.trials.claim("worker")) is not None:
        by_method = {Method.MOST_POPULAR: popular, Method.WORD2VEC: default}
        hits = by_method.get(work.trial.method, plain) if work.trial.role is TrialRole.BASELINE else winner
        complete(house, work, ranks_of(hits), study.spec.objective, is_kept=keeps(work))
    return verdicts.of(study.id)


def complete(house: House, work: TrialWork, ranks: PairRanks, objective: Objective, *, is_kept: bool) -> None:
    def measured() -> Measurement:
        return aggregated(measured_on(ranks), aggregate=objective.aggregate, weights=objective.weights)

    kept = house.staged()
    write_ranks(kept, {"validation": ranks, "test": ranks})
    is_search = work.trial.role is TrialRole.SEARCH
    house.trials.complete(
        work.claim,
        TrialOutcome(validation=measured(), test=None if is_search else measured(), has_ranks=is_kept),
        staged=house.staged() if is_search else None,
        ranks=kept if is_kept else None,
    )


def finding(report: VerdictReport) -> str:
    assert report.verdict is not None, report.missing
    return report.verdict.finding.value


def test_pairs_tell_apart_what_intervals_alone_do_not(house: House, verdicts: VerdictService) -> None:
    """The winner has every hit of the others and some more: paired, that is no chance."""
    by_pairs = judged(house, verdicts, winner=(60, 60), default=(48, 48))
    assert finding(by_pairs) == "improved"
    assert by_pairs.verdict is not None
    assert {difference.basis for difference in by_pairs.verdict.differences} == {"pairs"}
    by_intervals = judged(house, verdicts, winner=(60, 60), default=(48, 48), keeps=lambda _: False)
    assert {row.difference.basis for row in by_intervals.rows if row.difference is not None} == {"intervals"}


def test_each_aggregate_judges_what_it_maximises(house: House, verdicts: VerdictService) -> None:
    winner, default = (90, 40), (40, 45)
    assert finding(judged(house, verdicts, winner=winner, default=default, objective=MACRO)) == "improved"
    worst = judged(house, verdicts, winner=winner, default=default, objective=WORST)
    assert finding(worst) == "no_evidence"
    reference = next(row for row in worst.rows if row.standing == "reference")
    assert reference.difference is not None
    assert reference.difference.value == pytest.approx(0.0)
    one = judged(house, verdicts, winner=winner, default=(40, 80), objective=ONE_SEGMENT)
    assert finding(one) == "worse"
    assert one.rows[0].test is not None
    assert one.rows[0].test.value == pytest.approx(40 / N)


def test_a_winner_that_is_no_better_than_popularity_is_no_evidence(house: House, verdicts: VerdictService) -> None:
    report = judged(house, verdicts, winner=(60, 60), default=(20, 20), popular=(60, 60))
    assert finding(report) == "no_evidence"
    assert report.verdict is not None
    assert report.verdict.against == "most_popular"


def test_the_verdict_names_the_plain_baselines_that_beat_the_winner(house: House, verdicts: VerdictService) -> None:
    report = judged(house, verdicts, winner=(60, 60), default=(20, 20), plain=(90, 90))
    assert report.verdict is not None
    assert report.verdict.finding.value == "improved"
    assert report.verdict.beaten_by == ("next_song", "co_occurrence")
    assert "It scores lower than next_song, which trains nothing." in report.verdict.reason
    assert {row.name for row in report.rows} == {
        "trial-0",
        "gensim_defaults",
        "gensim_defaults_skip_gram",
        "most_popular",
        "next_song",
        "co_occurrence",
    }


def test_ranks_that_are_damaged_leave_the_intervals(house: House, verdicts: VerdictService) -> None:
    fresh = VerdictService(house.units, store=house.store, read_ranks=partial(read_ranks, pair_set="test"))
    report = judged(house, verdicts, winner=(60, 60), default=(20, 20))
    for path in (house.root / RANKS).rglob("test.npz"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    again = fresh.of(report.study.id)
    assert {row.difference.basis for row in again.rows if row.difference is not None} == {"intervals"}
    assert finding(again) == "improved"
