"""What clients tell of users whom they served themselves, and what anybody may look up without exposing anyone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import InvalidRequest, NotFound
from app.domain.experiments.assignment import bucket
from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.experiments.exposure import Exposed
from app.domain.plays import Rejection
from app.services.exposures import ToldExposure
from tests.services.player import DAY_MS, NOW_MS, Units, play
from tests.services.trial_ground import (
    EXPERIMENT,
    Server,
    exposure_of,
    n_exposed,
    reallocated,
    replaced,
    running,
    stored,
    user_of,
    users_of,
)
from tests.values import NOON, experiment


@pytest.fixture
def units(database_url: str) -> Iterator[Units]:
    engine = create_engine(database_url)
    yield Units(SqlUnitsOfWork(engine))
    engine.dispose()


def told(user_id: str, variant: str, *, after_ms: int = 0) -> ToldExposure:
    return ToldExposure(user_id=user_id, variant=variant, at_ms=NOW_MS + after_ms)


def verdicts(found: list[Exposed | Rejection]) -> list[str]:
    return [each.code if isinstance(each, Rejection) else each.verdict.value for each in found]


def test_each_exposure_has_its_verdict(units: Units) -> None:
    value = stored(units, running(traffic=0.5))
    server = Server(units)
    control, treatment = user_of(value, "control"), user_of(value, "treatment")
    found = server.exposures.tell(
        EXPERIMENT,
        [
            told(control, "control", after_ms=5),
            told(treatment, "treatment"),
            told(control, "control", after_ms=9),
            told(control, "treatment", after_ms=11),
            told(user_of(value, "control", number=1), "treatment"),
            told(user_of(value, None), "control"),
            told(control, "best"),
            told(control, "control", after_ms=-1),
            told(control, "control", after_ms=DAY_MS + 1),
            Rejection("malformed", "at", "It was told so."),
        ],
    )
    assert verdicts(found) == [
        "recorded",
        "recorded",
        "known",
        "crossed",
        "wrong_variant",
        "not_in_traffic",
        "unknown_variant",
        "before_start",
        "in_the_future",
        "malformed",
    ]
    recorded = exposure_of(units, control)
    assert recorded is not None
    assert (recorded.exposed_at_ms, recorded.crossed_at_ms) == (NOW_MS + 5, NOW_MS + 11)
    assert n_exposed(units) == 2
    assert verdicts(server.exposures.tell(EXPERIMENT, [told(treatment, "control")])) == ["crossed"]
    assert server.ask(control).experiment["variant"] == "control"


def test_a_variant_of_earlier_weights_is_taken_with_their_revision(units: Units) -> None:
    value = stored(units, running())
    changed = replaced(units, reallocated(value, control=1, treatment=9))
    users = users_of(value, "control", n_users=40)
    user_id = next(each for each in users if changed.assignment(each) != value.assignment(each))
    server = Server(units)
    (found,) = server.exposures.tell(EXPERIMENT, [told(user_id, "control")])
    assert isinstance(found, Exposed)
    assert (found.exposure.revision, found.exposure.variant) == (0, "control")
    assert server.ask(user_id).experiment["variant"] == "control"


def test_the_segment_is_of_what_was_heard_up_to_the_exposure(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    user_id = user_of(value, "control")
    server.clock.advance(60)
    server.add_plays([play("1", "s1", user_id=user_id, days_ago=1)])
    server.add_plays([play(str(number), "s2", user_id=user_id, days_ago=-0.0001 * number) for number in range(2, 9)])
    (found,) = server.exposures.tell(EXPERIMENT, [told(user_id, "control", after_ms=1)])
    assert isinstance(found, Exposed)
    assert found.exposure.segment == "fr"
    (again,) = server.exposures.tell(EXPERIMENT, [told(user_id, "control", after_ms=50_000)])
    assert isinstance(again, Exposed)
    assert (again.exposure.segment, again.verdict) == ("fr", "known")


def test_nobody_new_is_taken_while_it_is_paused_and_nobody_at_all_once_it_is_stopped(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    inside, outside = users_of(value, "control", n_users=2)
    server.exposures.tell(EXPERIMENT, [told(inside, "control")])
    batch = [told(inside, "control"), told(outside, "control")]
    replaced(units, value.moved_to(ExperimentState.PAUSED))
    assert verdicts(server.exposures.tell(EXPERIMENT, batch)) == ["known", "paused"]
    replaced(units, value.stopped(at=NOON))
    assert verdicts(server.exposures.tell(EXPERIMENT, batch)) == ["not_running", "not_running"]
    stored(units, experiment("exp_2"))
    assert verdicts(server.exposures.tell("exp_2", batch)) == ["not_running", "not_running"]


def test_one_that_is_stopped_meanwhile_takes_nobody(units: Units, monkeypatch: pytest.MonkeyPatch) -> None:
    value = stored(units, running())
    server = Server(units)

    def of_many(users: dict[str, int], **_how: object) -> dict[str, None]:
        replaced(units, value.stopped(at=NOON))
        return dict.fromkeys(users)

    monkeypatch.setattr(server.segments, "of_many", of_many)
    found = server.exposures.tell(EXPERIMENT, [told(user_of(value, "control"), "control")])
    assert verdicts(found) == ["not_running"]


def test_an_erased_user_is_not_taken_up_again(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    user_id = user_of(value, "control")
    server.exposures.tell(EXPERIMENT, [told(user_id, "control")])
    server.clock.advance(60)
    server.users.erase(user_id)
    batch = [told(user_id, "control", after_ms=60_000), told(user_id, "control", after_ms=60_001)]
    assert verdicts(server.exposures.tell(EXPERIMENT, batch)) == ["erased_user", "recorded"]


@pytest.mark.parametrize("n", [0, 1_001])
def test_a_batch_has_a_size(units: Units, n: int) -> None:
    stored(units, running())
    with pytest.raises(InvalidRequest):
        Server(units).exposures.tell(EXPERIMENT, [told(str(number), "control") for number in range(n)])


def test_what_is_not_there_is_not_found(units: Units) -> None:
    server = Server(units)
    with pytest.raises(NotFound):
        server.exposures.tell("exp_none", [told("u", "control")])
    with pytest.raises(NotFound):
        server.exposures.assignment("exp_none", "u")


def test_batches_that_share_users_do_not_wait_for_each_other_in_a_circle(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    users = users_of(value, "control", n_users=100)

    def tell(thread: int) -> list[str]:
        mine = users if thread % 2 else users[::-1]
        return verdicts(server.exposures.tell(EXPERIMENT, [told(user_id, "control") for user_id in mine]))

    with ThreadPoolExecutor(8) as threads:
        found = [verdict for some in threads.map(tell, range(8)) for verdict in some]
    assert (found.count("recorded"), found.count("known")) == (100, 700)


def test_looking_an_assignment_up_exposes_nobody(units: Units) -> None:
    value = stored(units, running(traffic=0.5, layer="home"))
    server = Server(units)
    for variant in ("control", "treatment", None):
        user_id = user_of(value, variant)
        found = server.exposures.assignment(EXPERIMENT, user_id)
        assert (found.variant, found.exposure) == (variant, None)
        assert found.reason == (None if variant else "not_in_traffic")
        assert (found.traffic_bucket, found.bucket) == (bucket("layer-home", user_id), bucket(EXPERIMENT, user_id))
    assert n_exposed(units) == 0
    with pytest.raises(InvalidRequest):
        server.exposures.assignment(EXPERIMENT, "")


def test_an_assignment_is_of_what_is_on_record_and_of_the_state(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    inside, outside = users_of(value, "control", n_users=2)
    server.ask(inside)
    server.clock.at = NOON + timedelta(days=1)
    out = replaced(units, reallocated(value, traffic=0.0001))
    assert looked_up(server, inside) == ("control", None)
    assert looked_up(server, outside) == (None, "not_in_traffic")
    back = replaced(units, reallocated(out).moved_to(ExperimentState.PAUSED))
    assert looked_up(server, inside) == ("control", None)
    assert looked_up(server, outside) == (None, "paused")
    replaced(units, back.stopped(at=NOON))
    assert looked_up(server, inside) == (None, "stopped")
    draft: Experiment = stored(units, experiment("exp_2"))
    found = server.exposures.assignment(draft.id, inside)
    assert (found.variant, found.reason, found.bucket) == (None, "not_started", bucket("exp_2", inside))


def looked_up(server: Server, user_id: str) -> tuple[str | None, str | None]:
    found = server.exposures.assignment(EXPERIMENT, user_id)
    return found.variant, found.reason
