"""Models and aliases: promoted, built once, moved one generation at a time."""

import pytest

from app.domain.errors import Conflict, InvalidRequest, LostLease, NotFound, StaleGeneration
from app.domain.lease import Failure, HeartbeatAnswer, Progress
from app.domain.models import Fit, IndexFacts, Model, ModelState
from app.services.artifacts import MODELS
from app.services.models import ModelWork
from tests.services.conftest import LEASE, House
from tests.values import outcome

INDEX = IndexFacts(kind="flat", n_songs=4, dim=10, n_neighbours=3, recall=1.0)


def completed_study(house: House) -> str:
    study = house.study(n_initial=1, n_iterations=0)
    for _ in range(2):  # the trial and its confirmation
        work = house.trials.claim("worker")
        assert work is not None
        house.trials.complete(work.claim, outcome(0.2), staged=house.staged())
    return study.id


def promoted(house: House, study_id: str, alias: str = "production") -> Model:
    model = house.models.promote(study_id, alias=alias, fit=Fit.TRIAL)
    assert isinstance(model, Model)
    return model


def claim(house: House) -> ModelWork:
    work = house.models.claim("worker")
    assert work is not None
    return work


def built(house: House, study_id: str, alias: str = "production") -> Model:
    promoted(house, study_id, alias)
    return house.models.complete(claim(house).claim, staged=house.staged(), index=INDEX)


def test_only_a_completed_study_is_promoted(house: House) -> None:
    study = house.study()
    with pytest.raises(Conflict, match="queued"):
        house.models.promote(study.id, alias="production", fit=Fit.TRIAL)


def test_an_alias_with_a_strange_name_is_refused(house: House) -> None:
    with pytest.raises(InvalidRequest) as refused:
        house.models.promote("std_any", alias="../production", fit=Fit.TRIAL)
    assert refused.value.pointer == "/alias"


def test_a_model_knows_its_lineage_and_the_winner_s_figures(house: House) -> None:
    study_id = completed_study(house)
    model = promoted(house, study_id)
    best = house.studies.get(study_id).best
    assert best is not None
    assert model.lineage.study_id == study_id
    assert model.lineage.trial_id == best.id
    assert model.lineage.fingerprint == "f" * 64
    assert model.lineage.trainer is house.studies.get(study_id).study.spec.trainer
    assert model.metrics.validation is not None
    assert model.parameters == best.parameters
    work = claim(house)
    assert work.vectors == f"{best.id}-1"
    assert work.dataset.id == model.dataset_id


def test_the_alias_moves_when_the_model_is_ready_and_not_before(house: House) -> None:
    study_id = completed_study(house)
    promoted(house, study_id)
    assert house.aliases.all() == ()
    ready = house.models.complete(claim(house).claim, staged=house.staged(), index=INDEX)
    assert ready.state is ModelState.READY
    assert [file.name for file in ready.files] == ["input.npy"]
    alias = house.aliases.get("production")
    assert (alias.model_id, alias.generation) == (ready.id, 1)
    (target,) = house.aliases.targets()
    assert target.files == f"{ready.id}-1"


def test_an_alias_is_assigned_only_to_a_ready_model(house: House) -> None:
    study_id = completed_study(house)
    waiting = promoted(house, study_id)
    with pytest.raises(Conflict, match="building"):
        house.aliases.assign("challenger", model_id=waiting.id)
    with pytest.raises(InvalidRequest, match="no model"):
        house.aliases.assign("challenger", model_id="mdl_none")
    ready = house.models.complete(claim(house).claim, staged=house.staged(), index=INDEX)
    assert house.aliases.assign("challenger", model_id=ready.id, if_match=0).generation == 1


def test_a_stale_generation_is_refused_with_the_present_one(house: House) -> None:
    model = built(house, completed_study(house))
    house.aliases.assign("production", model_id=model.id, if_match=1)
    with pytest.raises(StaleGeneration) as refused:
        house.aliases.assign("production", model_id=model.id, if_match=1)
    assert refused.value.actual == 2


def test_rolling_back_goes_back_one_model_each_time(house: House) -> None:
    study_id = completed_study(house)
    first, second, third = (built(house, study_id) for _ in range(3))
    assert house.aliases.rollback("production").model_id == second.id
    assert house.aliases.rollback("production").model_id == first.id
    with pytest.raises(Conflict, match="no model to go back to"):
        house.aliases.rollback("production")
    assert house.aliases.assign("production", model_id=third.id).generation == 6
    assert house.aliases.rollback("production").model_id == first.id


def test_the_history_of_an_alias_is_complete_and_paged(house: House) -> None:
    study_id = completed_study(house)
    first, second = built(house, study_id), built(house, study_id)
    house.aliases.rollback("production", if_match=2)
    page = house.aliases.moves("production", limit=2)
    assert [(move.generation, move.reason, move.model_id) for move in page.rows] == [
        (3, "rollback", first.id),
        (2, "promotion", second.id),
    ]
    assert page.next_cursor is not None
    rest = house.aliases.moves("production", limit=2, before=int(page.next_cursor))
    assert [move.previous_model_id for move in rest.rows] == [None]
    assert rest.next_cursor is None


def test_an_unknown_alias_is_not_found(house: House) -> None:
    for call in (
        lambda: house.aliases.get("production"),
        lambda: house.aliases.rollback("production"),
        lambda: house.aliases.moves("production", limit=1),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_model_that_is_kept_alive_between_a_look_and_the_taking_back_is_not_taken(house: House) -> None:
    promoted(house, completed_study(house))
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    house.watch.meanwhile = lambda: house.models.heartbeat(work.claim)
    assert house.models.reap() == 0
    assert house.models.heartbeat(work.claim) is HeartbeatAnswer.CONTINUE


def test_a_dead_worker_s_model_is_built_again_and_the_late_one_refused(house: House) -> None:
    promoted(house, completed_study(house))
    late = claim(house)
    assert house.models.heartbeat(late.claim, Progress(phase="index", fraction=0.1)) is HeartbeatAnswer.CONTINUE
    assert house.models.claim("another") is None
    house.clock.advance(LEASE.total_seconds() + 1)
    assert house.models.reap() == 1
    current = claim(house)
    assert house.models.heartbeat(late.claim) is HeartbeatAnswer.LOST
    with pytest.raises(LostLease):
        house.models.complete(late.claim, staged=house.staged(), index=INDEX)
    assert not (house.root / MODELS / f"{late.model.id}-1").exists()
    house.models.complete(current.claim, staged=house.staged(), index=INDEX)
    assert house.aliases.get("production").generation == 1


def test_a_completion_reported_twice_moves_the_alias_once(house: House) -> None:
    promoted(house, completed_study(house))
    work, staged = claim(house), house.staged()
    first = house.models.complete(work.claim, staged=staged, index=INDEX)
    assert house.models.complete(work.claim, staged=staged, index=INDEX) == first
    assert house.aliases.get("production").generation == 1


def test_a_model_that_cannot_be_built_fails_and_leaves_the_alias_alone(house: House) -> None:
    promoted(house, completed_study(house))
    crash = Failure(code="crashed", reason="signal 11")
    states = [house.models.fail(claim(house).claim, crash, is_final=False).state for _ in range(3)]
    assert states == [ModelState.BUILDING, ModelState.BUILDING, ModelState.FAILED]
    assert house.aliases.all() == ()


def test_a_released_model_is_claimed_again_at_no_cost(house: House) -> None:
    promoted(house, completed_study(house))
    house.models.release(claim(house).claim)
    assert claim(house).claim.attempt == 1


def test_models_are_listed_newest_first(house: House) -> None:
    study_id = completed_study(house)
    made = [promoted(house, study_id).id for _ in range(3)]
    page = house.models.list(limit=2)
    assert [model.id for model in page.rows] == [made[2], made[1]]
    assert [model.id for model in house.models.list(limit=2, cursor=page.next_cursor).rows] == [made[0]]
