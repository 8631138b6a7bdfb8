"""Whoever asks within an experiment gets one variant and stays there, and that is on record once, before the answer."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import Conflict, InvalidRequest, NotFound, Unavailable
from app.domain.experiments.experiment import ExperimentState, Serving, Variant
from app.domain.experiments.exposure import Exposure
from app.domain.recommending import epoch_ms
from app.domain.serving import Live
from app.services.exposing import KnownExposures
from tests.services.player import NOW_MS, Units, angle_model, heard, ids, play
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
from tests.values import NOON, FakeClock, experiment


@pytest.fixture
def units(database_url: str) -> Iterator[Units]:
    engine = create_engine(database_url)
    yield Units(SqlUnitsOfWork(engine))
    engine.dispose()


def test_the_variant_answers_and_the_exposure_is_on_record_once(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    server.listeners.look()
    for variant, model_id in (("control", "mdl_1"), ("treatment", "mdl_2")):
        user_id = user_of(value, variant)
        at_ms = epoch_ms(server.clock.now())
        first = server.ask(user_id)
        told = {"id": EXPERIMENT, "variant": variant, "segment": None, "is_exposed": True, "reason": None}
        assert (first.experiment, first.answer.model_id) == (told, model_id)
        assert first.answer.attribution.startswith(f"v1.{value.live_name(variant)}.{model_id}.1.")
        server.clock.advance(60)
        n_asked = units.n_asked
        assert server.ask(user_id).experiment == told
        assert units.n_asked == n_asked + 1  # the history alone is read
        found = known(units, user_id)
        assert (found.variant, found.exposed_at_ms, found.revision) == (variant, at_ms, 0)
    assert n_exposed(units) == 2


def test_another_server_answers_by_what_is_on_record(units: Units) -> None:
    value = stored(units, running())
    user_id = user_of(value, "control")
    Server(units).ask(user_id)
    other = Server(units, clock=FakeClock(NOON + timedelta(hours=1)))
    assert other.ask(user_id).experiment["variant"] == "control"
    found = known(units, user_id)
    assert (found.exposed_at_ms, found.crossed_at_ms) == (NOW_MS, None)


def test_who_is_exposed_keeps_the_variant_whatever_becomes_of_the_weights(units: Units) -> None:
    value = stored(units, running())
    users = users_of(value, "control", n_users=40)
    server = Server(units)
    for user_id in users[:20]:
        server.ask(user_id)
    changed = replaced(units, reallocated(value, control=1, treatment=9))
    moved = [user_id for user_id in users if changed.assignment(user_id) != value.assignment(user_id)]
    assert {user_id in users[:20] for user_id in moved} == {True, False}
    for each in (server, Server(units)):  # one remembers, one reads
        each.follow(units)
        for user_id in moved:
            wanted = "control" if user_id in users[:20] else "treatment"
            assert each.ask(user_id).experiment["variant"] == wanted
    found = known(units, moved[-1])
    assert (found.variant, found.revision, found.crossed_at_ms) == ("treatment", 1, None)


def test_a_server_that_knows_old_weights_learns_the_new_ones_before_it_exposes(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    changed = replaced(units, reallocated(value, control=1, treatment=9))
    users = users_of(value, "control", n_users=40)
    user_id = next(each for each in users if changed.assignment(each) != value.assignment(each))
    found = server.ask(user_id)
    assert (found.experiment["variant"], found.answer.model_id) == ("treatment", "mdl_2")


def test_less_traffic_lets_out_whoever_was_not_exposed(units: Units) -> None:
    value = stored(units, running())
    changed = reallocated(value, traffic=0.1)
    out = users_of(changed, None, n_users=2)
    server = Server(units)
    server.ask(out[0])
    replaced(units, changed)
    for each in (server, Server(units)):
        each.follow(units)
        assert each.ask(out[0]).experiment["is_exposed"]
        assert each.ask(out[1]).experiment["reason"] == "not_in_traffic"
    assert n_exposed(units) == 1


def test_nobody_new_enters_a_paused_experiment(units: Units) -> None:
    value = stored(units, running())
    inside, outside = users_of(value, "treatment", n_users=2)
    server = Server(units)
    server.ask(inside)
    replaced(units, value.moved_to(ExperimentState.PAUSED))
    # The first server has not heard of it yet: writing tells.
    assert server.ask(outside).experiment["reason"] == "paused"
    for each in (server, Server(units)):
        assert each.ask(inside).experiment["variant"] == "treatment"
        found = each.ask(outside)
        assert (found.experiment["reason"], found.answer.alias) == ("paused", "production")
    assert n_exposed(units) == 1


def test_everybody_gets_the_alias_once_it_is_stopped_or_before_it_starts(units: Units) -> None:
    value = stored(units, running())
    user_id = user_of(value, "treatment")
    server = Server(units)
    server.ask(user_id)
    replaced(units, value.stopped(at=NOON))
    server.follow(units)
    found = server.ask(user_id)
    assert found.experiment == {
        "id": EXPERIMENT,
        "variant": None,
        "segment": None,
        "is_exposed": False,
        "reason": "stopped",
    }
    assert (found.answer.alias, found.answer.model_id) == ("production", "mdl_a")
    stored(units, experiment("exp_2"))
    assert server.ask(user_id, "exp_2").experiment["reason"] == "not_started"
    n_asked = units.n_asked
    server.ask(user_id, "exp_2")
    assert units.n_asked == n_asked + 1  # the history: the draft is not read again at once


def test_nobody_is_exposed_where_one_of_the_variants_is_not_loaded(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    del server.models.live[value.live_name("treatment")]
    for variant in ("control", "treatment"):
        found = server.ask(user_of(value, variant))
        assert (found.experiment["reason"], found.answer.alias) == ("variant_not_live", "production")
    assert n_exposed(units) == 0


def test_who_cannot_be_answered_is_not_exposed(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)

    def fail(_alias: str, _serving: Serving) -> None:
        raise InvalidRequest("There is no such column.", pointer="filter")

    with pytest.raises(InvalidRequest):
        server.exposing.answered(EXPERIMENT, user_of(value, "treatment"), fail)
    assert n_exposed(units) == 0


def test_an_experiment_or_a_user_that_cannot_be_is_refused(units: Units) -> None:
    server = Server(units)
    with pytest.raises(NotFound):
        server.ask("u", "exp_none")
    with pytest.raises(InvalidRequest):
        server.ask("")


def test_the_segment_is_by_the_alias_and_what_was_heard_before(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)
    french, english = users_of(value, "treatment", n_users=2)
    server.add_plays(
        [
            play("1", "s1", user_id=french, days_ago=3),  # fr
            play("2", "s5", user_id=french, days_ago=2),  # fr
            play("3", "s2", user_id=french, days_ago=1),  # en
            play("4", "s2", user_id=english, days_ago=1),
        ]
    )
    for user_id, segment in ((french, "fr"), (english, "en")):
        found = server.ask(user_id)
        assert found.experiment["segment"] == segment
        assert found.answer.segment is None  # the variant's model knows none
        server.add_plays([play(f"{user_id} {number}", "s4", user_id=user_id) for number in range(9)])
        assert server.ask(user_id).experiment["segment"] == segment
        assert known(units, user_id).segment == segment


def known(units: Units, user_id: str) -> Exposure:
    found = exposure_of(units, user_id)
    assert found is not None
    return found


def test_segments_may_be_of_a_column_or_none(units: Units) -> None:
    server = Server(units)
    server.add_plays([play("1", "s1"), play("2", "s2", days_ago=1), play("3", "s3", days_ago=2)])
    for by, expected in (("artist", "Björk"), ("duration_s", "100"), ("genre", None), (True, "fr"), (False, None)):
        assert server.segments.of("u", alias="production", by=by, at_ms=NOW_MS) == expected
        assert server.segments.of_many({"u": NOW_MS}, alias="production", by=by) == {"u": expected}
    assert server.segments.of("u", alias="production", by=True, at_ms=NOW_MS - 1) == "en"  # of one each the last heard
    assert server.segments.of("nobody", alias="production", by=True, at_ms=NOW_MS) is None


def test_a_variant_recommends_in_its_own_way(units: Units) -> None:
    variants = (
        Variant(name="control", alias="production"),
        Variant(name="treatment", alias="production", serving=Serving(exclude_seen="none")),
    )
    value = stored(units, running(variants=variants))
    server = Server(units)
    for variant in ("control", "treatment"):
        user_id = user_of(value, variant)
        server.add_plays([play(variant, "s5", user_id=user_id)])
        assert ("s5" in ids(server.ask(user_id).answer)) == (variant == "treatment")


def test_while_the_database_is_away_only_the_known_keep_their_variant(units: Units) -> None:
    value = stored(units, running())
    inside, outside = users_of(value, "treatment", n_users=2)
    now_s = [100.0]
    heard_before = [heard("s1", 5)]
    server = Server(units, monotonic=lambda: now_s[0], histories={inside: heard_before, outside: heard_before})
    server.listeners.look()
    server.ask(inside)
    units.is_away = True
    n_asked = units.n_asked
    found = server.ask(outside)
    assert (found.experiment["reason"], found.answer.alias) == ("database_away", "production")
    assert units.n_asked == n_asked + 1  # what the history found is not tried again
    assert server.ask(outside).experiment["reason"] == "database_away"
    assert units.n_asked == n_asked + 1
    assert server.ask(inside).experiment["variant"] == "treatment"
    with pytest.raises(Unavailable):
        server.ask(outside, "exp_never_seen")
    units.is_away = False
    now_s[0] += 1.5
    assert server.ask(outside).experiment["variant"] == "treatment"
    assert n_exposed(units) == 2


def test_a_database_that_goes_between_reading_and_writing_exposes_nobody(units: Units) -> None:
    value = stored(units, running())
    server = Server(units)

    def ask(alias: str, _serving: Serving) -> str:
        units.is_away = True
        return alias

    found = server.exposing.answered(EXPERIMENT, user_of(value, "treatment"), ask)
    assert (found.answer, found.experiment["reason"]) == ("production", "database_away")
    units.is_away = False
    assert n_exposed(units) == 0


def test_a_paused_experiment_of_which_nothing_can_be_read_answers_by_the_alias(units: Units) -> None:
    value = stored(units, running())
    user_id = user_of(value, "treatment")
    Server(units).ask(user_id)
    replaced(units, value.moved_to(ExperimentState.PAUSED))
    server = Server(units, histories={user_id: [heard("s1", 5)]})
    server.listeners.look()
    units.is_away = True
    for _ in range(2):  # the second time it is not tried
        assert server.ask(user_id).experiment["reason"] == "paused"


def test_eight_threads_and_two_servers_expose_each_user_once(units: Units) -> None:
    value = stored(units, running())
    users = users_of(value, "control", n_users=6) + users_of(value, "treatment", n_users=6)
    servers = [Server(units), Server(units)]

    def ask(thread: int) -> list[tuple[str, str | None]]:
        order = users if thread % 3 else users[::-1]
        return [(user_id, servers[thread % 2].ask(user_id).experiment["variant"]) for user_id in order]

    with ThreadPoolExecutor(8) as threads:
        answers = {answer for some in threads.map(ask, range(8)) for answer in some}
    expected = {(user_id, "control" if number < 6 else "treatment") for number, user_id in enumerate(users)}
    assert answers == expected
    assert n_exposed(units) == len(users)


def test_an_erased_user_is_new_on_every_server(units: Units) -> None:
    value = stored(units, running())
    user_id = user_of(value, "treatment")
    servers = [Server(units), Server(units)]
    servers[0].add_plays([play("1", "s1", user_id=user_id, days_ago=1)])
    for server in servers:
        assert server.ask(user_id).experiment["segment"] == "fr"
    servers[0].clock.advance(5)
    erased = servers[0].users.erase(user_id)
    assert (erased.n_plays_erased, erased.n_exposures_erased) == (1, 1)
    assert exposure_of(units, user_id) is None
    for server in servers:
        server.listeners.look()
        server.clock.at = NOON + timedelta(seconds=9)
        assert server.ask(user_id).experiment == {
            "id": EXPERIMENT,
            "variant": "treatment",
            "segment": None,
            "is_exposed": True,
            "reason": None,
        }
    found = known(units, user_id)
    assert found.exposed_at_ms == NOW_MS + 9000


def test_an_erasure_in_between_leaves_no_segment(units: Units, monkeypatch: pytest.MonkeyPatch) -> None:
    value = stored(units, running())
    user_id = user_of(value, "treatment")
    server = Server(units)
    server.add_plays([play("1", "s1", user_id=user_id, days_ago=1)])
    inner = server.segments.of

    def of(user_id: str, *, alias: str, by: bool | str, at_ms: int) -> str | None:
        found = inner(user_id, alias=alias, by=by, at_ms=at_ms)
        server.users.erase(user_id)
        return found

    monkeypatch.setattr(server.segments, "of", of)
    assert server.ask(user_id).experiment["segment"] is None
    assert known(units, user_id).segment is None


def test_what_is_remembered_has_a_bound(units: Units) -> None:
    value = stored(units, running())
    server = Server(units, capacity=2)
    users = users_of(value, "control", n_users=4)
    for user_id in users:
        server.ask(user_id)
    assert len(server.exposing._known) == 2
    assert server.ask(users[0]).experiment["variant"] == "control"  # read again
    assert n_exposed(units) == 4
    empty = KnownExposures(3)
    empty.forget(EXPERIMENT, "u")
    assert len(empty) == 0


def test_while_the_database_is_away_the_alias_may_know_a_user_whom_the_variant_does_not(
    units: Units,
) -> None:
    value = stored(units, running())
    user_id = user_of(value, "treatment")
    server = Server(units, histories={user_id: [heard("s1", 5)]})
    server.models.live[value.live_name("treatment")] = Live("exp_1-2", 1, angle_model("mdl_2"))
    server.listeners.look()
    server.ask(user_id)
    units.is_away = True
    found = server.ask(user_id)
    assert (found.experiment["reason"], found.answer.alias) == ("database_away", "production")


def test_an_experiment_that_was_read_before_is_known_while_the_database_is_away(units: Units) -> None:
    value = stored(units, experiment("exp_2"))
    now_s = [100.0]
    server = Server(units, monotonic=lambda: now_s[0], histories={"u": [heard("s1", 5)]})
    server.listeners.look()
    server.ask("u", value.id)
    units.is_away = True
    now_s[0] += 1.5
    assert server.ask("u", value.id).experiment["reason"] == "not_started"


def test_experiments_that_are_not_served_are_forgotten_beyond_a_bound(
    units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.exposing.MOST_READ", 2)
    server = Server(units)
    for identity in ("exp_2", "exp_3", "exp_4"):
        stored(units, experiment(identity))
        server.ask("u", identity)
    assert list(server.exposing._read) == ["exp_4"]


def test_an_experiment_that_changes_all_the_time_asks_to_try_again(
    units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = stored(units, running())
    server = Server(units)
    versions = itertools.count(value.version + 1)
    inner = server.segments.of

    def of(user_id: str, *, alias: str, by: bool | str, at_ms: int) -> str | None:
        replaced(units, replace(value, version=next(versions)))
        return inner(user_id, alias=alias, by=by, at_ms=at_ms)

    monkeypatch.setattr(server.segments, "of", of)
    with pytest.raises(Conflict, match="try again"):
        server.ask(user_of(value, "treatment"))
    assert n_exposed(units) == 0
