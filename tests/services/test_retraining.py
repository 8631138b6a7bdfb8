"""A retraining goes from new plays to a promotion, a step at a time, each step once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.adapters.clock import UuidIds
from app.adapters.polling import PollingSignals
from app.adapters.ranks import write_ranks
from app.adapters.schedules import latest_tick
from app.domain.datasets import SourceReference
from app.domain.errors import Conflict, InvalidRequest, InvalidSource
from app.domain.gates import GateLimits
from app.domain.lease import Failure
from app.domain.models import Fit, Model, Rival
from app.domain.plays import Play
from app.domain.recommending import epoch_ms
from app.domain.retraining import RETRAINING_MOVES, Retraining, RetrainingSpec, RetrainingState
from app.domain.tuning.trial import TrialOutcome, TrialRole
from app.services.retraining import RetrainingFacts, RetrainingService
from tests.services.conftest import House
from tests.services.test_gates import INDEX, LATENCY, SEGMENTS, built, study_with
from tests.values import NOON, measured_on, outcome, ranks_of, statistics

PLAYS_CSV = b"song_id,session_id\na,1\nb,1\nc,1\n"


@dataclass
class Gathering:
    """Notes what it was given; `error` is what it raises."""

    n_sent: int | None = None
    sent: list[Play] = field(default_factory=list)
    error: Exception | None = None
    erased: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, source: Path, sent: Iterator[list[Play]], out: Path, erased: Mapping[str, int]) -> int | None:
        assert source.name == "plays.csv"
        self.erased = erased
        if self.error is not None:
            raise self.error
        self.sent = [play for plays in sent for play in plays]
        if self.n_sent is not None:
            out.write_bytes(PLAYS_CSV)
        return self.n_sent


def service(
    house: House, gathering: Gathering | None = None, schedule: dict[str, str] | None = None
) -> RetrainingService:
    return RetrainingService(
        house.units,
        ids=UuidIds(),
        signals=PollingSignals(),
        datasets=house.datasets,
        studies=house.studies,
        models=house.models,
        gather=Gathering() if gathering is None else gathering,
        schedule=schedule or {},
        latest_tick=latest_tick,
    )


def live_model(house: House) -> Model:
    return built(house, study_with(house, house.ready_dataset(SEGMENTS).id, (60, 60)))


def asked(
    retrainings: RetrainingService,
    spec: RetrainingSpec | None = None,
    *,
    alias: str | None = "production",
    model_id: str | None = None,
) -> Retraining:
    found = retrainings.request(alias=alias, model_id=model_id, spec=RetrainingSpec() if spec is None else spec)
    assert isinstance(found, RetrainingFacts)
    return found.retraining


def prepare(house: House) -> None:
    """A worker prepares the dataset that waits."""
    work = house.datasets.claim("worker")
    assert work is not None
    fingerprint = work.dataset.id[-32:] * 2
    house.datasets.complete(work.claim, staged=house.staged(), statistics=statistics(SEGMENTS), fingerprint=fingerprint)


def measure(house: House, hits: tuple[int, int]) -> None:
    """A worker runs the one trial and its confirmation."""
    search = house.trials.claim("worker")
    assert search is not None
    house.trials.complete(search.claim, outcome(0.2), staged=house.staged())
    confirmation = house.trials.claim("worker")
    assert confirmation is not None
    kept, found = house.staged(), ranks_of(hits)
    write_ranks(kept, {"test": found})
    measured = TrialOutcome(validation=None, test=measured_on(found), has_ranks=True)
    house.trials.complete(confirmation.claim, measured, staged=None, ranks=kept)


def build(house: House, live_hits: tuple[int, int]) -> Model:
    """A worker builds the model, and measures the live one beside it."""
    work = house.models.claim("worker")
    assert work is not None
    assert work.rival is not None
    staged = house.staged()
    write_ranks(staged, {"test": ranks_of(live_hits)})
    rival = Rival(model_id=work.rival.id, measurement=measured_on(ranks_of(live_hits)))
    return house.models.complete(work.claim, staged=staged, index=INDEX, latency=LATENCY, rival=rival)


def run(house: House, retrainings: RetrainingService, *, hits: tuple[int, int], live_hits: tuple[int, int]) -> Model:
    """All steps, the worker's between."""
    assert retrainings.advance() == 1
    prepare(house)
    assert retrainings.advance() == 1
    measure(house, hits)
    assert retrainings.advance() == 1
    model = build(house, live_hits)
    assert retrainings.advance() == 1
    assert retrainings.advance() == 0
    return model


def test_the_same_parameters_are_measured_fitted_whole_and_promoted_on_new_plays(house: House) -> None:
    live, retrainings = live_model(house), service(house)
    retraining = asked(retrainings)
    assert retraining.state is RetrainingState.GATHERING
    model = run(house, retrainings, hits=(90, 90), live_hits=(60, 60))
    facts = retrainings.get(retraining.id)
    assert (facts.retraining.state, facts.model) == (RetrainingState.ENDED, model)
    assert (model.fit, model.parameters, model.dataset_id) == (
        Fit.FULL,
        live.parameters,
        facts.retraining.dataset_id,
    )
    assert model.promotion is not None
    assert model.promotion.state == "moved"
    assert house.aliases.get("production").model_id == model.id
    study = house.studies.get(str(facts.retraining.study_id))
    assert [trial.role for trial in house.studies.trials(study.study.id, limit=9).rows] == [
        TrialRole.SEARCH,
        TrialRole.CONFIRMATION,
    ]
    dataset = house.datasets.get(str(facts.retraining.dataset_id))
    assert dataset.spec.plays == SourceReference(source="plays")
    assert dataset.spec.name.startswith("plays of spring, anew 2026-01-01")


def test_a_worse_one_is_built_and_does_not_go_live(house: House) -> None:
    live, retrainings = live_model(house), service(house)
    retraining = asked(retrainings)
    model = run(house, retrainings, hits=(30, 30), live_hits=(60, 60))
    assert model.promotion is not None
    assert model.promotion.state == "refused"
    assert retrainings.get(retraining.id).retraining.state is RetrainingState.ENDED
    assert house.aliases.get("production").model_id == live.id


def test_plays_sent_since_go_with_the_source_also_in_the_next_one(house: House) -> None:
    live_model(house)
    play = Play(event_id="e", user_id="u", song_id="s", played_at_ms=1)
    with house.units() as unit:
        unit.plays.add([play], received_at=NOON + timedelta(seconds=1))
        unit.plays.add([Play(event_id="f", user_id="u", song_id="s", played_at_ms=1)], received_at=NOON)
        unit.listeners.erase("gone", at=NOON)
        unit.commit()
    gathering = Gathering(n_sent=7)
    retrainings = service(house, gathering)
    for _ in range(2):
        retraining = asked(retrainings)
        run(house, retrainings, hits=(90, 90), live_hits=(60, 60))
        found = retrainings.get(retraining.id).retraining
        assert (found.n_sent_plays, gathering.sent) == (7, [play])
        assert gathering.erased == {"gone": epoch_ms(NOON)}
        assert house.datasets.get(str(found.dataset_id)).spec.plays.upload_id is not None


def test_a_step_is_taken_once_by_however_many_workers(house: House) -> None:
    live_model(house)
    one, other = service(house), service(house)
    retraining = asked(one)
    with house.units.reading() as unit:
        seen = unit.retrainings.get(retraining.id)
    assert one._step(seen)
    assert not other._step(seen)
    assert not other._fail(seen, Failure(code="late", reason="late"))
    assert len(house.datasets.list(limit=9).rows) == 2


def test_what_it_waits_for_may_fail_and_it_says_so(house: House) -> None:
    live_model(house)
    gathering = Gathering(error=InvalidSource("no plays", pointer="/plays"))
    retrainings = service(house, gathering)
    unreadable = asked(retrainings)
    assert retrainings.advance() == 1
    assert retrainings.get(unreadable.id).retraining.failure == Failure(code="invalid_source", reason="no plays")

    gathering.error = None
    crash = Failure(code="crashed", reason="signal 11")
    unprepared = asked(retrainings)
    retrainings.advance()
    work = house.datasets.claim("worker")
    assert work is not None
    house.datasets.fail(work.claim, crash, is_final=True)
    assert retrainings.advance() == 1
    assert retrainings.get(unprepared.id).retraining.failure == crash

    cancelled = asked(retrainings)
    retrainings.advance()
    prepare(house)
    retrainings.advance()
    house.studies.cancel(str(retrainings.get(cancelled.id).retraining.study_id))
    retrainings.advance()
    found = retrainings.get(cancelled.id).retraining
    assert found.state is RetrainingState.FAILED
    assert found.failure is not None
    assert found.finished_at is not None

    unbuilt = asked(retrainings)
    retrainings.advance()
    prepare(house)
    retrainings.advance()
    measure(house, (90, 90))
    retrainings.advance()
    model = house.models.claim("worker")
    assert model is not None
    house.models.fail(model.claim, crash, is_final=True)
    retrainings.advance()
    assert retrainings.get(unbuilt.id).retraining.failure == crash
    assert [each.retraining.id for each in retrainings.list(limit=2).rows] == [unbuilt.id, cancelled.id]


def test_a_given_dataset_is_trained_on_and_no_alias_need_move(house: House) -> None:
    live = live_model(house)
    dataset = house.ready_dataset(SEGMENTS, fingerprint="e" * 64)
    retrainings = service(house)
    spec = RetrainingSpec(dataset_id=dataset.id, promotes=False, gates=GateLimits(recall=None))
    retraining = asked(retrainings, spec, alias=None, model_id=live.id)
    assert retraining.state is RetrainingState.PREPARING
    assert retrainings.advance() == 1
    measure(house, (90, 90))
    assert retrainings.advance() == 1
    found = retrainings.get(retraining.id)
    assert found.model is not None
    assert (found.model.alias, found.model.dataset_id) == (None, dataset.id)


def test_a_request_names_what_there_is_and_one_at_a_time(house: House) -> None:
    live = live_model(house)
    retrainings = service(house)
    for alias, model_id, dataset_id, pointer in (
        (None, None, None, "/alias"),
        ("none", None, None, "/alias"),
        (None, "mdl_none", None, "/model_id"),
        ("production", None, "dat_none", "/dataset_id"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            asked(retrainings, RetrainingSpec(dataset_id=dataset_id), alias=alias, model_id=model_id)
        assert refused.value.pointer == pointer
    waiting = house.models.promote(live.study_id)
    assert isinstance(waiting, Model)
    with pytest.raises(Conflict, match="building"):
        asked(retrainings, alias=None, model_id=waiting.id)
    asked(retrainings)
    with pytest.raises(Conflict, match="has not ended"):
        asked(retrainings)


def test_a_schedule_asks_once_for_all_that_was_missed_whoever_looks(house: House) -> None:
    live_model(house)
    schedule = {"production": "0 * * * *", "none": "* * * * *"}
    one, other = (service(house, schedule=schedule) for _ in range(2))
    assert one.advance() == other.advance() == 0
    house.clock.advance(3 * 3600 + 60)
    assert one.advance() == 2  # begun, and one step further
    (facts,) = one.list(limit=9).rows
    assert facts.retraining.tick_at == datetime(2026, 1, 1, 15, tzinfo=NOON.tzinfo)
    assert other.advance() == 0
    house.clock.advance(7200)
    assert other.advance() == 0  # the first has not ended
    work = house.datasets.claim("worker")
    assert work is not None
    house.datasets.fail(work.claim, Failure(code="crashed", reason="signal 11"), is_final=True)
    assert other.advance() == 1
    assert other.advance() == 2
    assert len(other.list(limit=9).rows) == 2
    with house.units() as unit:
        assert not unit.retrainings.add_tick(facts.retraining)


def test_what_has_ended_goes_no_further() -> None:
    assert RETRAINING_MOVES[RetrainingState.ENDED] == RETRAINING_MOVES[RetrainingState.FAILED] == frozenset()
