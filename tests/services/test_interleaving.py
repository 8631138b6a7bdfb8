"""Two answers made one, and what users' plays of it say on both databases."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.attribution import Attribution, parsed
from app.domain.errors import Conflict, NotFound
from app.domain.experiments.assignment import allocated
from app.domain.experiments.experiment import Experiment
from app.domain.experiments.exposure import Exposure
from app.domain.experiments.interleaving import Votes
from app.domain.models import Bundle
from app.domain.plays import EventType, Play
from app.domain.serving import Basis, Recommendation, RecommendationsAnswer, Recommended
from app.services.drafting import drafted
from app.services.interleaving import InterleavingService
from tests.values import NOON, FakeClock, experiment

NOON_MS = int(NOON.timestamp() * 1000)


def token(number: int, *, nonce: str = "nonce-of-8", identity: str = "exp_1") -> str:
    return Attribution(f"{identity}-{number}", f"mdl_{number}", 1, issued_at_ms=NOON_MS, nonce=nonce).token


def answer(number: int, song_ids: str, *steps: tuple[Basis, int], unknown: str = "") -> RecommendationsAnswer:
    given: list[tuple[Basis, int]] = list(steps) or [("profile", len(song_ids))]
    songs = [Recommendation(song_id=song, title=song, artist=None, score=float(number)) for song in song_ids]
    return Recommended(
        alias=f"exp_1-{number}",
        model_id=f"mdl_{number}",
        generation=1,
        user_id="u",
        recommendations=songs,
        steps=[{"basis": basis, "n_songs": n} for basis, n in given],
        fallback=None,
        reason=None,
        history="complete",
        segment="ar",
        n_plays_used=3,
        unknown_song_ids=list(unknown),
        attribution=token(number),
    )


def draft(
    first: RecommendationsAnswer, second: RecommendationsAnswer, *, k: int, seed: int = 0
) -> RecommendationsAnswer:
    return drafted(first, second, experiment_id="exp_1", k=k, draws=np.random.default_rng(seed))


# Lists


def test_each_song_carries_the_token_of_the_list_that_it_is_of() -> None:
    found = draft(answer(1, "abcd"), answer(2, "efgh"), k=4)
    assert len(found.recommendations) == 4
    for song in found.recommendations:
        number = 1 if song["song_id"] in "abcd" else 2
        assert song["attribution"] == token(number)
        assert song["score"] == number
    assert {song["attribution"] for song in found.recommendations} == {token(1), token(2)}


def test_the_answers_own_token_is_of_neither_variant() -> None:
    found = draft(answer(1, "ab"), answer(2, "cd"), k=2)
    assert (found.alias, parsed(found.attribution).alias) == ("exp_1", "exp_1")


def test_a_song_that_only_one_list_had_left_carries_no_token_of_its_own() -> None:
    found = draft(answer(1, "a"), answer(2, "abc"), k=3)
    assert [song["song_id"] for song in found.recommendations] == ["a", "b", "c"]
    assert [("attribution" in song) for song in found.recommendations] in ([True, True, False], [True, False, False])
    assert [song["song_id"] for song in draft(answer(1, "xyz"), answer(2, ""), k=3).recommendations] == ["x", "y", "z"]


def test_steps_tell_what_gave_which_songs_of_the_list() -> None:
    first = answer(1, "abcd", ("profile", 1), ("popular", 3), unknown="pq")
    second = answer(2, "efgh", ("profile", 4), unknown="qr")
    found = draft(first, second, k=6)
    bases = [step["basis"] for step in found.steps for _ in range(step["n_songs"])]
    assert bases == ["popular" if song["song_id"] in "bcd" else "profile" for song in found.recommendations]
    assert all(one["basis"] != other["basis"] for one, other in zip(found.steps, found.steps[1:], strict=False))
    assert found.unknown_song_ids == ["p", "q", "r"]


# Votes


def running(identity: str = "exp_1", **changes: object) -> Experiment:
    allocation = allocated([], at=NOON, share=1.0, weights={"control": 1, "treatment": 1}, taken=())
    pinned = {"control": Bundle(default="mdl_1"), "treatment": Bundle(default="mdl_2")}
    draft = replace(experiment(identity, **changes), kind="interleaving")
    return draft.started(at=NOON, allocation=allocation, pinned=pinned)


@pytest.fixture
def units(database_url: str) -> Iterator[SqlUnitsOfWork]:
    engine = create_engine(database_url)
    units = SqlUnitsOfWork(engine, clock=FakeClock(NOON + timedelta(days=1)))
    with units() as unit:
        unit.experiments.add(running())
        unit.experiments.add(replace(experiment("exp_2"), kind="interleaving"))
        unit.experiments.add(experiment("exp_3"))
        unit.commit()
    yield units
    engine.dispose()


def expose(units: SqlUnitsOfWork, user_id: str, segment: str | None, *, crossed_at_ms: int | None = None) -> None:
    exposure = Exposure(
        experiment_id="exp_1",
        user_id=user_id,
        variant="interleaved",
        segment=segment,
        exposed_at_ms=NOON_MS,
        revision=0,
    )
    with units() as unit:
        unit.exposures.record("exp_1", [exposure])
        if crossed_at_ms is not None:
            unit.exposures.record("exp_1", [replace(exposure, variant="control", exposed_at_ms=crossed_at_ms)])
        unit.commit()


def hear(units: SqlUnitsOfWork, user_id: str, *tokens: str | None, at_ms: int = NOON_MS, skip: bool = False) -> None:
    with units() as unit:
        plays = [
            Play(
                event_id=f"{user_id}-{place}-{at_ms}-{skip}",
                user_id=user_id,
                song_id="s",
                played_at_ms=at_ms + place,
                event_type=EventType.SKIP if skip else EventType.PLAY,
                attribution=each,
            )
            for place, each in enumerate(tokens)
        ]
        unit.plays.add(plays, received_at=NOON)
        unit.commit()


def votes(wins: int = 0, losses: int = 0, ties: int = 0, without: int = 0) -> Votes:
    return Votes(n_wins=wins, n_losses=losses, n_ties=ties, n_without=without)


def test_users_vote_by_whose_songs_they_play_more(units: SqlUnitsOfWork) -> None:
    heard: dict[str, list[str | None]] = {
        "wins": [token(2), token(2), token(1)],
        "wins too": [token(2)],
        "loses": [token(1), token(1), token(2)],
        "ties": [token(1), token(2)],
        "plays others": [None, token(2, identity="exp_9"), token(12)],
        "is silent": [],
    }
    for user_id, tokens in heard.items():
        expose(units, user_id, "ar")
        hear(units, user_id, *tokens)
    found = InterleavingService(units).preferences("exp_1")
    assert found.overall.votes == votes(wins=2, losses=1, ties=1, without=2)
    assert found.overall.n_plays == (4, 5)
    assert found.overall.preference is not None
    assert found.overall.preference.share == pytest.approx(2 / 3)
    assert found.until == NOON + timedelta(days=1)


def test_segments_are_those_at_exposure_and_add_up(units: SqlUnitsOfWork) -> None:
    for user_id, segment, number in (("a", "ar", 2), ("b", "ar", 2), ("c", "en", 1), ("d", None, 2)):
        expose(units, user_id, segment)
        hear(units, user_id, token(number))
    found = InterleavingService(units).preferences("exp_1")
    assert [(each.segment, each.votes) for each in found.segments] == [
        (None, votes(wins=1)),
        ("ar", votes(wins=2)),
        ("en", votes(losses=1)),
    ]
    assert found.overall.votes == votes(wins=3, losses=1)


def test_only_plays_that_follow_the_exposure_and_are_no_skips_count(units: SqlUnitsOfWork) -> None:
    expose(units, "u", "ar")
    hear(units, "u", token(2), at_ms=NOON_MS - 1)
    hear(units, "u", token(2), token(2), skip=True)
    hear(units, "u", token(1), at_ms=NOON_MS + 5)
    hear(units, "u", token(2), token(2), at_ms=NOON_MS + 90_000_000)
    hear(units, "never exposed", token(2))
    found = InterleavingService(units).preferences("exp_1")
    assert found.overall.votes == votes(losses=1)


def test_who_saw_something_else_too_is_left_out(units: SqlUnitsOfWork) -> None:
    expose(units, "u", "ar", crossed_at_ms=NOON_MS + 9)
    hear(units, "u", token(2))
    found = InterleavingService(units).preferences("exp_1")
    assert found.overall.votes == votes()
    assert found.overall.preference is None
    assert found.segments == []


def test_plays_after_the_stop_do_not_count(units: SqlUnitsOfWork) -> None:
    expose(units, "u", "ar")
    hear(units, "u", token(2), at_ms=NOON_MS + 10_000)
    with units() as unit:
        unit.experiments.save(running().stopped(at=NOON + timedelta(seconds=5)))
        unit.commit()
    assert InterleavingService(units).preferences("exp_1").overall.votes == votes(without=1)


@pytest.mark.parametrize(("identity", "error"), [("exp_2", Conflict), ("exp_3", Conflict), ("exp_4", NotFound)])
def test_what_is_no_started_interleaving_has_no_preferences(
    units: SqlUnitsOfWork, identity: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        InterleavingService(units).preferences(identity)


def test_the_level_is_the_experiments_own(units: SqlUnitsOfWork) -> None:
    with units() as unit:
        unit.experiments.save(running(alpha=0.2))
        unit.commit()
    expose(units, "u", None)
    hear(units, "u", token(2))
    found = InterleavingService(units).preferences("exp_1").overall.preference
    assert found is not None
    assert found.level == 0.8
