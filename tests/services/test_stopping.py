"""Studies that end before their budget does: by a rule, with its reason, and with their winner confirmed."""

from collections.abc import Sequence

import pytest

from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.stopping import NoImprovement, Stopping, StoppingRule
from app.domain.tuning.study import Study, StudySpec, StudyState
from app.domain.tuning.suggester import Observation
from app.domain.tuning.trial import Method, Trial, TrialRole, TrialState
from app.services.studies import StudyView
from app.services.trials import TrialService, TrialWork
from tests.services.conftest import House
from tests.values import outcome


def claim(house: House) -> TrialWork:
    work = house.trials.claim("worker")
    assert work is not None
    return work


def complete(house: House, work: TrialWork, objective: float = 0.2) -> None:
    is_trained = work.trial.role is TrialRole.SEARCH
    house.trials.complete(work.claim, outcome(objective), staged=house.staged() if is_trained else None)


def finished(house: House, study: Study) -> StudyView:
    """The study, once its winner is confirmed: that is all that is left to do."""
    confirmation = claim(house)
    assert confirmation.trial.role is TrialRole.CONFIRMATION
    complete(house, confirmation)
    assert house.trials.claim("worker") is None
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert view.fraction == 1.0
    assert view.n_ended == view.n_trials
    return view


def assert_stopped(view: StudyView, rule: StoppingRule, *, n_search: int) -> None:
    assert view.study.stopped is not None
    assert view.study.stopped.rule is rule
    assert view.study.stopped.reason
    assert sum(view.counts.values()) == n_search


def test_a_study_stops_after_the_most_trials_allowed(house: House) -> None:
    study = house.study(n_iterations=8, stopping=Stopping(max_trials=2))
    complete(house, claim(house))
    assert house.studies.get(study.id).study.stopped is None
    complete(house, claim(house))
    assert_stopped(finished(house, study), StoppingRule.MAX_TRIALS, n_search=2)


def test_a_study_stops_when_its_target_is_reached(house: House) -> None:
    study = house.study(n_iterations=8, stopping=Stopping(target=0.3))
    complete(house, claim(house), 0.29)
    complete(house, claim(house), 0.31)
    view = finished(house, study)
    assert_stopped(view, StoppingRule.TARGET, n_search=2)
    assert view.study.stopped is not None
    assert "0.31" in view.study.stopped.reason
    assert view.study.stopped.at == house.clock.now()


def test_a_study_stops_when_trials_no_longer_improve_it(house: House) -> None:
    rule = NoImprovement(n_trials=2, min_delta=0.01)
    study = house.study(n_iterations=8, stopping=Stopping(no_improvement=rule))
    for objective in (0.1, 0.2, 0.205, 0.15):
        assert house.studies.get(study.id).study.stopped is None
        complete(house, claim(house), objective)
    assert_stopped(finished(house, study), StoppingRule.NO_IMPROVEMENT, n_search=4)


def test_improvement_is_looked_for_in_the_order_in_which_trials_end(house: House) -> None:
    stopping = Stopping(no_improvement=NoImprovement(n_trials=2))
    study = house.study(n_initial=9, n_iterations=0, parallelism=3, stopping=stopping)
    first, second, third = claim(house), claim(house), claim(house)
    for work, objective in ((third, 0.1), (second, 0.1), (first, 0.2)):
        house.clock.advance(1)
        complete(house, work, objective)
    assert house.studies.get(study.id).study.stopped is None  # in the order of numbers the last two are none better


def test_failed_trials_say_nothing_about_improvement(house: House) -> None:
    from app.domain.lease import Failure

    stopping = Stopping(no_improvement=NoImprovement(n_trials=1))
    study = house.study(n_iterations=8, max_attempts=1, stopping=stopping)
    complete(house, claim(house))
    house.trials.fail(claim(house).claim, Failure(code="crashed", reason="It crashed."), is_final=False)
    assert house.studies.get(study.id).study.stopped is None


def test_time_is_up_when_a_study_has_run_so_long_pauses_not_counted(house: House) -> None:
    study = house.study(n_iterations=8, stopping=Stopping(max_run_s=100))
    house.clock.advance(1_000)
    complete(house, claim(house))
    house.clock.advance(60)
    house.studies.pause(study.id)
    house.clock.advance(1_000)
    house.studies.resume(study.id)
    assert house.studies.get(study.id).run_s == pytest.approx(60)
    work = claim(house)
    house.clock.advance(20)
    complete(house, work)
    assert house.studies.get(study.id).study.stopped is None
    house.clock.advance(20)
    view = finished(house, study)  # looked at before a trial begins, too
    assert_stopped(view, StoppingRule.MAX_RUN_S, n_search=2)
    house.clock.advance(1_000)
    assert house.studies.get(study.id).run_s == pytest.approx(100)


def test_trials_under_way_finish_when_a_rule_stops_their_study(house: House) -> None:
    study = house.study(n_initial=9, parallelism=3, stopping=Stopping(target=0.3))
    works = [claim(house) for _ in range(3)]
    complete(house, works[0], 0.35)
    assert house.studies.get(study.id).study.stopped is not None
    assert house.studies.get(study.id).study.state is StudyState.RUNNING
    assert house.trials.claim("worker") is None
    complete(house, works[1], 0.4)
    complete(house, works[2], 0.1)
    view = finished(house, study)
    assert_stopped(view, StoppingRule.TARGET, n_search=3)
    assert view.best is not None
    assert view.best.objective == pytest.approx(0.4)


def test_a_trial_that_its_worker_handed_back_still_runs_after_the_stop(house: House) -> None:
    study = house.study(n_initial=9, parallelism=2, stopping=Stopping(target=0.3))
    first, second = claim(house), claim(house)
    complete(house, first, 0.35)
    house.trials.release(second.claim)
    again = claim(house)
    assert again.trial.id == second.trial.id
    complete(house, again)
    assert_stopped(finished(house, study), StoppingRule.TARGET, n_search=2)


def enqueued(house: House, study: Study, *, number: int) -> Trial:
    """A trial that waits to be begun."""
    trial = Trial(
        id=f"trl_{number}",
        study_id=study.id,
        role=TrialRole.SEARCH,
        number=number,
        name=f"trial-{number}",
        method=Method.WORD2VEC,
        parameters=TrainingParameters(window=number + 1),
        state=TrialState.WAITING,
        created_at=house.clock.now(),
    )
    with house.units() as unit:
        unit.trials.add(trial)
        unit.commit()
    return trial


def test_trials_that_were_never_begun_are_cancelled_by_the_stop(house: House) -> None:
    study = house.study(n_initial=9, stopping=Stopping(target=0.3))
    work = claim(house)
    waiting = enqueued(house, study, number=1)
    complete(house, work, 0.35)
    assert house.studies.trial(waiting.id).state is TrialState.CANCELLED
    assert_stopped(finished(house, study), StoppingRule.TARGET, n_search=2)


def test_time_that_is_up_lets_no_waiting_trial_begin(house: House) -> None:
    study = house.study(n_initial=9, stopping=Stopping(max_run_s=10))
    complete(house, claim(house))
    waiting = enqueued(house, study, number=1)
    house.clock.advance(10)
    assert_stopped(finished(house, study), StoppingRule.MAX_RUN_S, n_search=2)
    assert house.studies.trial(waiting.id).state is TrialState.CANCELLED


def test_a_study_stopped_without_a_usable_trial_fails(house: House) -> None:
    from app.domain.lease import Failure

    study = house.study(n_iterations=8, stopping=Stopping(max_trials=1))
    house.trials.fail(claim(house).claim, Failure(code="infeasible", reason="No song is left."), is_final=True)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.FAILED
    assert view.study.stopped is not None
    assert view.study.failure is not None
    assert "1 infeasible (the last: No song is left)" in view.study.failure.reason


class Expecting(RandomSearch):
    """Expects less and less of the next point."""

    def expected_improvement(  # type: ignore[override] # a random search expects nothing
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> float | None:
        assert suggested == self.suggest(observations, number=number)
        return None if number < 2 else 0.1 / number**3


def test_a_study_stops_when_the_expected_improvement_falls_below_the_noise_floor(house: House) -> None:
    from dataclasses import replace

    from app.adapters.clock import UuidIds
    from app.adapters.polling import PollingSignals
    from tests.services.conftest import LEASE

    def expecting(spec: StudySpec) -> Expecting:
        return Expecting(spec.space, spec.seed)

    house.trials = TrialService(
        house.units,
        store=house.store,
        ids=UuidIds(),
        signals=PollingSignals(),
        suggester_for=expecting,
        lease=LEASE,
        watch=house.watch,
    )
    plain = house.study()
    house.studies.cancel(plain.id)
    spec = replace(plain.spec, algorithm="bayesian", n_iterations=9, stopping=Stopping(min_expected_improvement=0.1))
    study = house.studies.create(spec)
    assert isinstance(study, Study)
    for _ in range(4):  # the noise floor is 0.1 / 3.92: 0.1 of it lies between what is expected of the fourth and fifth
        complete(house, claim(house))
    view = finished(house, study)
    assert_stopped(view, StoppingRule.MIN_EXPECTED_IMPROVEMENT, n_search=4)
    assert view.study.stopped is not None
    assert "standard error" in view.study.stopped.reason
    again = house.life.extend(study.id, n_iterations=1)  # the rule would hold again at the next claim
    assert isinstance(again, Study)
    assert not again.spec.stopping.has_rules
    assert claim(house).trial.number == 4
