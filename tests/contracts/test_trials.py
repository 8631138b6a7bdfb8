"""What is asked of stored trials, studies and models beside what every kind of row is, on each kind of database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.datasets import Dataset, DatasetState
from app.domain.errors import NotFound
from app.domain.models import Fit, Lineage, Model, ModelMetrics, ModelState
from app.domain.training import TrainingParameters
from app.domain.tuning.retry import FailureCounts, FailureKind, RetryPolicy
from app.domain.tuning.revisions import Revision
from app.domain.tuning.stopping import NoImprovement, Stopped, Stopping, StoppingRule
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import Method, Trial, TrialRole, TrialState
from tests.values import NOON, FakeClock, dataset_spec, study_spec

SPEC = study_spec(
    "dat_1",
    stopping=Stopping(target=0.3, no_improvement=NoImprovement(n_trials=5)),
    retry=RetryPolicy(on={FailureKind.LOST: 7}),
)


@pytest.fixture
def units(database_url: str) -> Iterator[SqlUnitsOfWork]:
    """A database with a dataset and a study."""
    engine = create_engine(database_url)
    units = SqlUnitsOfWork(engine, clock=FakeClock())
    with units() as unit:
        unit.datasets.add(Dataset(id="dat_1", spec=dataset_spec(), state=DatasetState.READY, created_at=NOON))
        unit.studies.add(Study(id="std_1", spec=SPEC, state=StudyState.QUEUED, created_at=NOON))
        unit.studies.add(Study(id="std_2", spec=SPEC, state=StudyState.QUEUED, created_at=NOON))
        unit.commit()
    yield units
    engine.dispose()


def trial(number: int, *, study_id: str = "std_1") -> Trial:
    return Trial(
        id=f"trl_{study_id}{number}",
        study_id=study_id,
        role=TrialRole.SEARCH,
        number=number,
        name=f"trial-{number}",
        method=Method.WORD2VEC,
        parameters=TrainingParameters(),
        state=TrialState.WAITING,
        created_at=NOON,
    )


def test_what_a_study_went_through_is_stored(units: SqlUnitsOfWork) -> None:
    study = Study(
        id="std_3",
        spec=SPEC,
        state=StudyState.RUNNING,
        created_at=NOON,
        stopped=Stopped(rule=StoppingRule.TARGET, reason="It was reached.", at=NOON),
        revisions=(Revision(number=0, space=SPEC.space, at=NOON), Revision(number=1, space=SPEC.space, at=NOON)),
        cloned_from="std_1",
        version=3,
        ran_s=12.5,
        running_since=NOON,
    )
    with units() as unit:
        unit.studies.add(study)
        unit.commit()
    with units.reading() as unit:
        assert unit.studies.get("std_3") == study


def test_how_a_trial_failed_is_stored(units: SqlUnitsOfWork) -> None:
    stored = replace(trial(0), revision=2, failures=FailureCounts(lost=2, failed=1), not_before=NOON)
    with units() as unit:
        unit.trials.add(stored)
        unit.commit()
    with units.reading() as unit:
        assert unit.trials.get(stored.id) == stored


def test_a_trial_that_waits_for_its_time_is_passed_over_until_then(units: SqlUnitsOfWork) -> None:
    later = NOON + timedelta(seconds=10)
    with units() as unit:
        unit.trials.add(replace(trial(0), not_before=later))
        unit.trials.add(trial(1))
        found = {
            by: waiting.number
            for by in (NOON, later - timedelta(microseconds=1), later, None)
            if (waiting := unit.trials.next_waiting("std_1", by=by)) is not None
        }
    assert found == {NOON: 1, later - timedelta(microseconds=1): 1, later: 0, None: 0}


def test_trials_are_looked_up_by_their_ids(units: SqlUnitsOfWork) -> None:
    with units() as unit:
        for number in range(3):
            unit.trials.add(trial(number))
        found = unit.trials.having({trial(2).id, trial(0).id, "trl_none"})
        assert [there.number for there in found] == [0, 2]
        assert unit.trials.having([]) == []


def test_a_study_is_deleted_with_its_trials_and_no_others(units: SqlUnitsOfWork) -> None:
    with units() as unit:
        unit.trials.add(trial(0))
        unit.trials.add(trial(0, study_id="std_2"))
        unit.commit()
    with units() as unit:
        unit.trials.delete_of_study("std_1")
        unit.studies.delete("std_1")
        unit.commit()
    with units.reading() as unit:
        with pytest.raises(NotFound):
            unit.studies.get("std_1")
        assert unit.trials.of_study("std_1") == []
        assert len(unit.trials.of_study("std_2")) == 1


def test_the_models_of_a_study_are_told_oldest_first(units: SqlUnitsOfWork) -> None:
    with units() as unit:
        unit.trials.add(trial(0))
        for identity in ("mdl_2", "mdl_1"):
            unit.models.add(_model(identity))
        assert [model.id for model in unit.models.of_study("std_1")] == ["mdl_1", "mdl_2"]
        assert unit.models.of_study("std_2") == []


def _model(identity: str) -> Model:
    return Model(
        id=identity,
        study_id="std_1",
        trial_id=trial(0).id,
        dataset_id="dat_1",
        fit=Fit.TRIAL,
        parameters=TrainingParameters(),
        state=ModelState.BUILDING,
        created_at=NOON,
        lineage=Lineage(
            dataset_id="dat_1",
            dataset_name="spring",
            fingerprint="f",
            study_id="std_1",
            study_name="a study",
            trainer=SPEC.trainer,
            trial_id=trial(0).id,
            trial_number=0,
        ),
        metrics=ModelMetrics(validation=None, test=None, baselines={}),
    )
