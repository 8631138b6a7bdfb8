"""Studies as their owners see them."""

import pytest

from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import TrialRole, TrialState
from tests.services.conftest import House
from tests.values import dataset_spec, outcome, study_spec


def test_a_study_needs_a_dataset_that_exists(house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        house.studies.create(study_spec("dat_none"))
    assert refused.value.pointer == "/dataset_id"


def test_a_study_needs_a_dataset_that_is_ready(house: House) -> None:
    queued = house.datasets.create(dataset_spec())
    with pytest.raises(Conflict, match="queued"):
        house.studies.create(study_spec(getattr(queued, "id")))  # noqa: B009 - a replay has none


def test_a_new_study_has_its_baselines_waiting(house: House) -> None:
    study = house.study(baselines=True)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.QUEUED
    assert [trial.state for trial in view.baselines] == [TrialState.WAITING] * 5
    assert view.n_trials == 3 + 5 + 1
    assert view.fraction == 0.0


def test_a_queued_study_resumes_to_queued(house: House) -> None:
    study = house.study()
    house.studies.pause(study.id)
    assert house.studies.resume(study.id).state is StudyState.QUEUED


def test_a_running_study_resumes_to_running(house: House) -> None:
    study = house.study()
    house.trials.claim("worker")
    house.studies.pause(study.id)
    assert house.studies.resume(study.id).state is StudyState.RUNNING


def test_moves_that_the_lifecycle_forbids_are_refused(house: House) -> None:
    study = house.study()
    with pytest.raises(Conflict, match="not paused"):
        house.studies.resume(study.id)
    house.studies.cancel(study.id)
    for move in (house.studies.pause, house.studies.cancel, house.studies.resume):
        with pytest.raises(Conflict):
            move(study.id)


def test_trials_are_paged_in_the_order_they_were_made(house: House) -> None:
    study = house.study(baselines=True, parallelism=9)
    while house.trials.claim("worker") is not None:
        pass
    first = house.studies.trials(study.id, limit=6)
    second = house.studies.trials(study.id, limit=6, cursor=first.next_cursor)
    names = [trial.name for trial in first.rows + second.rows]
    assert names[5:] == ["trial-0", "trial-1", "trial-2"]
    assert second.next_cursor is None
    search = house.studies.trials(study.id, limit=9, role=TrialRole.SEARCH)
    assert [trial.number for trial in search.rows] == [0, 1, 2]


def test_an_unknown_study_or_trial_is_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        house.studies.get("std_none")
    with pytest.raises(NotFound):
        house.studies.trials("std_none", limit=1)
    with pytest.raises(NotFound):
        house.studies.trial("trl_none")


def test_the_best_trial_so_far_is_told_while_the_study_runs(house: House) -> None:
    study = house.study()
    work = house.trials.claim("worker")
    assert work is not None
    house.trials.complete(work.claim, outcome(0.2), staged=house.staged())
    best = house.studies.get(study.id).best
    assert best is not None
    assert best.objective == pytest.approx(0.2)


def test_studies_are_listed_newest_first(house: House) -> None:
    dataset = house.ready_dataset()
    made = []
    for _ in range(3):
        study = house.studies.create(study_spec(dataset.id))
        assert isinstance(study, Study)
        made.append(study.id)
    page = house.studies.list(limit=2)
    assert [study.id for study in page.rows] == [made[2], made[1]]
    assert [study.id for study in house.studies.list(limit=2, cursor=page.next_cursor).rows] == [made[0]]
