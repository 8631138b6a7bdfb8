"""The ledger of finished experiments: both differences side by side, written once plays have settled."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.experiments.assignment import allocated
from app.domain.experiments.calibration import FEWEST, Finding, Measured, OnlineLift
from app.domain.experiments.experiment import Experiment
from app.domain.models import Bundle, Model
from app.services.calibrating import SAME_MODEL, SEVERAL_MODELS, CalibrationService
from app.services.snapshots import SETTLED_AFTER
from tests.services.conftest import House
from tests.services.test_gates import SEGMENTS, built, study_with
from tests.values import N_OF_SEGMENT, NOON, experiment


def lift(segment: str | None, value: float | None, *, reason: str | None = None) -> OnlineLift:
    measured = None if value is None else Measured(value=value, low=value - 0.1, high=value + 0.1)
    return OnlineLift(variant="treatment", segment=segment, lift=measured, n_users=100, reason=reason)


class Online:
    """Lifts that are given, and how often they were asked for."""

    def __init__(self, *lifts: OnlineLift) -> None:
        self.lifts = list(lifts)
        self.asked: list[str] = []

    def __call__(self, experiment: Experiment) -> Sequence[OnlineLift]:
        """The same for every experiment."""
        self.asked.append(experiment.id)
        return self.lifts


def models(house: House, *hits: tuple[int, int], fingerprint: str = "f" * 64) -> list[Model]:
    """Ready models of one dataset with so many hits in ar and en."""
    dataset_id = house.ready_dataset(SEGMENTS, fingerprint=fingerprint).id
    return [built(house, study_with(house, dataset_id, each), override_reason="a test") for each in hits]


def stopped(house: House, control: Bundle, treatment: Bundle, *, identity: str = "exp_1") -> Experiment:
    allocation = allocated([], at=NOON, share=1.0, weights={"control": 1, "treatment": 1}, taken=())
    started = experiment(identity).started(
        at=NOON, allocation=allocation, pinned={"control": control, "treatment": treatment}
    )
    found = started.stopped(at=house.clock.now())
    with house.units() as unit:
        unit.experiments.add(found)
        unit.commit()
    return found


def read(house: House, online: Online) -> list[Finding]:
    return calibration(house, online).ledger(limit=50).page.rows


def calibration(house: House, online: Online) -> CalibrationService:
    return CalibrationService(house.units, gates=house.gates, online=online)


def test_both_differences_stand_side_by_side_overall_and_by_segment(house: House) -> None:
    control, treatment = models(house, (50, 50), (90, 50))
    stopped(house, Bundle(default=control.id), Bundle(default=treatment.id))
    online = Online(lift(None, 0.02), lift("ar", 0.09), lift("en", None, reason="Too few users."))
    (found,) = read(house, online)
    assert (found.experiment_id, found.name, found.goal) == ("exp_1", "tuned against old", "seconds_per_session")
    by_segment = {each.segment: each for each in found.comparisons}
    assert {segment: each.n_pairs for segment, each in by_segment.items()} == {
        None: 2 * N_OF_SEGMENT,
        "ar": N_OF_SEGMENT,
        "en": N_OF_SEGMENT,
    }
    hits = {segment: each.offline["hit_ratio"].value for segment, each in by_segment.items()}
    assert hits == pytest.approx({None: 40 / 400, "ar": 40 / 200, "en": 0.0})
    assert by_segment["ar"].offline["ndcg"].low > 0
    assert by_segment["ar"].lift == online.lifts[1].lift
    assert (by_segment["en"].lift, by_segment["en"].reasons) == (None, ("Too few users.",))


def test_each_segment_of_a_bundle_is_compared_by_its_own_models(house: House) -> None:
    control, treatment = models(house, (50, 50), (90, 50))
    stopped(house, Bundle(default=control.id), Bundle(default=control.id, segments={"ar": treatment.id}))
    (found,) = read(house, Online(lift(None, 0.02), lift("ar", 0.09), lift("en", 0.0)))
    overall, arabic, english = found.comparisons
    assert (overall.offline, overall.reasons) == ({}, (SEVERAL_MODELS,))
    assert arabic.offline["hit_ratio"].value == pytest.approx(0.2)
    assert (english.offline, english.reasons) == ({}, (SAME_MODEL,))


def test_models_of_other_pairs_are_not_compared_and_it_is_said_why(house: House) -> None:
    (control,) = models(house, (50, 50))
    (treatment,) = models(house, (50, 50), fingerprint="e" * 64)
    stopped(house, Bundle(default=control.id), Bundle(default=treatment.id))
    (found,) = read(house, Online(lift(None, 0.02)))
    assert found.comparisons[0].offline == {}
    assert found.comparisons[0].reasons == (f"Model {control.id} was measured on another dataset's pairs.",)


def test_a_finding_is_written_once_late_plays_were_waited_for(house: House) -> None:
    control, treatment = models(house, (50, 50), (90, 50))
    stopped(house, Bundle(default=control.id), Bundle(default=treatment.id))
    online = Online(lift(None, 0.02))
    assert read(house, online)[0].comparisons[0].lift == online.lifts[0].lift
    online.lifts = [lift(None, 0.03)]
    house.clock.advance(SETTLED_AFTER.total_seconds())
    settled = read(house, online)
    assert settled[0].comparisons[0].lift == online.lifts[0].lift
    online.lifts = [lift(None, 0.9)]
    assert read(house, online) == settled
    assert online.asked == ["exp_1", "exp_1"]
    with house.units() as unit:
        unit.findings.add([replace(settled[0], name="another")])
        assert unit.findings.all() == settled


def test_what_runs_still_or_interleaves_is_not_in_the_ledger(house: House) -> None:
    control, treatment = models(house, (50, 50), (90, 50))
    found = stopped(house, Bundle(default=control.id), Bundle(default=treatment.id))
    with house.units() as unit:
        unit.experiments.add(experiment("exp_2"))
        unit.experiments.add(replace(found, id="exp_3", kind="interleaving"))
        unit.commit()
    assert [each.experiment_id for each in read(house, Online(lift(None, 0.1)))] == ["exp_1"]


def test_a_page_does_not_change_what_all_experiments_say(house: House) -> None:
    control, *treatments = models(house, (10, 10), *((20 + 10 * number, 10) for number in range(FEWEST)))
    online = Online()
    ledger = calibration(house, online)
    for number, treatment in enumerate(treatments):
        stopped(house, Bundle(default=control.id), Bundle(default=treatment.id), identity=f"exp_{number}")
        online.lifts = [lift(None, 0.01 * number)]
        house.clock.advance(timedelta(days=2).total_seconds())
        ledger.ledger(limit=1)
    first = ledger.ledger(limit=3)
    second = ledger.ledger(limit=3, cursor=first.page.next_cursor)
    assert [each.experiment_id for each in [*first.page.rows, *second.page.rows]] == [
        f"exp_{number}" for number in reversed(range(FEWEST))
    ]
    assert second.page.next_cursor is None
    for found in (first, second):
        hits = next(each for each in found.calibrations if each.measure == "hit_ratio")
        assert hits.n_experiments == FEWEST
        assert hits.correlation is not None
        assert hits.correlation.value == pytest.approx(1.0)
        assert hits.no_prediction is not None


def test_an_empty_ledger_declines(house: House) -> None:
    found = calibration(house, Online()).ledger(limit=5)
    assert found.page.rows == []
    assert [each.correlation for each in found.calibrations] == [None, None]
