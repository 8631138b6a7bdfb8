"""Simulated users of a service: what they send, and what they make of refusals. The test plays the service."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from rich.console import Console

from app.domain.attribution import Attribution
from app.simulation import service as simulated
from app.simulation.listeners import Effect, Language
from app.simulation.listening import DAY_MS
from app.simulation.scenario import Scenario, SimulationFailed
from app.simulation.service import Done, Service, listen

NOW_MS = 1_767_268_800_000
NOW = datetime.fromisoformat("2026-01-01T12:00:00Z")
LANGUAGES = ("ar", "en")


def song(number: int, *, language: str | None) -> dict[str, Any]:
    details = {"duration_s": 100.0} if number % 2 else {}
    return {"song_id": f"s{number}", "details": details if language is None else {**details, "language": language}}


def token(user_id: str) -> str:
    """Of the list of a user."""
    nonce = hashlib.sha256(user_id.encode()).hexdigest()[:16]
    return Attribution("exp_1-1", "mdl_1", 1, issued_at_ms=NOW_MS + 5_000, nonce=nonce).token


class Played:
    """A service with twenty songs and a running experiment."""

    def __init__(
        self, *, state: str = "running", kind: str = "assignment", languages: tuple[str, ...] = LANGUAGES
    ) -> None:
        self.experiment = {
            "id": "exp_1",
            "state": state,
            "kind": kind,
            "alias": "production",
            "variants": [{"name": "old"}, {"name": "new"}],
        }
        self.songs = [song(n, language=languages[n % len(languages)] if languages else None) for n in range(20)]
        self.plays: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.busy = 0
        self.verdict = "accepted"

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """Answer."""
        path = request.url.path
        assert request.headers["Authorization"] == "Bearer key"
        if self.busy:
            self.busy -= 1
            return httpx2.Response(429, headers={"Retry-After": "0"}, json={"detail": "busy"})
        if path == "/v1/experiments/exp_1":
            return httpx2.Response(200, json=self.experiment)
        if path == "/v1/songs":
            start = int(request.url.params.get("cursor", 0))
            cursor = str(start + 10) if start + 10 < len(self.songs) else None
            return httpx2.Response(200, json={"items": self.songs[start : start + 10], "next_cursor": cursor})
        if path == "/v1/plays":
            return self._heard(json.loads(request.content)["plays"])
        if path.endswith("/recommendations"):
            return httpx2.Response(200, json=self._given(unquote(path.split("/")[3]), request.url.params["experiment"]))
        return httpx2.Response(404, json={"detail": "There is no such thing."})

    def variant(self, user_id: str) -> str | None:
        """By the user: a third each."""
        return ("old", "new", None)[hashlib.sha256(user_id.encode()).digest()[0] % 3]

    def _given(self, user_id: str, experiment: str) -> dict[str, Any]:
        self.asked.append(user_id)
        variant = self.variant(user_id)
        songs = [{"song_id": f"s{n}"} for n in range(4)]
        if self.experiment["kind"] == "interleaving" and variant is not None:
            songs = [each | {"attribution": f"token.{experiment}-{n % 2 + 1}.x"} for n, each in enumerate(songs)]
            variant = "interleaved"
        return {
            "recommendations": songs,
            "attribution": token(user_id),
            "experiment": {"id": experiment, "variant": variant},
        }

    def _heard(self, plays: list[dict[str, Any]]) -> httpx2.Response:
        self.plays += plays
        verdicts = [{"verdict": self.verdict, "reason": {"detail": "It is late."}} for _ in plays]
        return httpx2.Response(200, json={"n_accepted": len(plays), "verdicts": verdicts})


def have_listened(
    played: Callable[[httpx2.Request], httpx2.Response],
    *,
    languages: tuple[Language, ...] | None = None,
    experiment_id: str = "exp_1",
    at_once: bool = False,
    **changes: Any,  # noqa: ANN401 - any field
) -> Done:
    headers = {"Authorization": "Bearer key"}
    http = httpx2.Client(base_url="http://segue", headers=headers, transport=httpx2.MockTransport(played))
    with Service("http://segue", key="key", http=http) as service:
        return listen(
            service,
            experiment_id,
            column="language",
            scenario=lambda found: Scenario(
                n_users=60, languages=languages or found, start_ms=NOW_MS, days=1, **{"days_before": 2, **changes}
            ),
            console=Console(quiet=True),
            at_once=at_once,
        )


def test_users_hear_before_ask_once_and_hear_for_a_day() -> None:
    played = Played()
    done = have_listened(played)
    instants = [datetime.fromisoformat(play["played_at"]) for play in played.plays]
    assert done.n_before + done.n_after == len(played.plays) == len({play["event_id"] for play in played.plays})
    assert min(instants) >= NOW - timedelta(days=2)
    assert max(instants) < NOW + timedelta(milliseconds=DAY_MS)
    assert len(played.asked) == len(set(played.asked))
    since = {play["user_id"] for play, at in zip(played.plays, instants, strict=True) if at >= NOW + timedelta(hours=6)}
    assert since <= set(played.asked)
    assert done.n_exposed == Counter(name for user in played.asked if (name := played.variant(user)) is not None)
    assert done.n_outside == sum(played.variant(user) is None for user in played.asked)


def test_only_users_in_the_experiment_play_songs_of_its_lists_with_their_token() -> None:
    played = Played()
    have_listened(played)
    credited = [play for play in played.plays if "attribution" in play]
    assert credited
    assert all(play["attribution"] == token(play["user_id"]) for play in credited)
    assert all(played.variant(play["user_id"]) is not None for play in credited)
    assert {play["song_id"] for play in credited} <= {"s0", "s1", "s2", "s3"}
    assert all(datetime.fromisoformat(play["played_at"]) >= NOW for play in credited)


def test_an_interleaved_song_is_played_with_its_own_token_and_the_liked_model_s_more() -> None:
    played = Played(kind="interleaving")
    effects = {name: Effect(recommended=3.0) for name in LANGUAGES}
    done = have_listened(played, effects=effects)
    assert set(done.n_exposed) == {"interleaved"}
    teams = Counter(play["attribution"] for play in played.plays if "attribution" in play)
    assert set(teams) == {"token.exp_1-1.x", "token.exp_1-2.x"}
    assert teams["token.exp_1-2.x"] > 1.5 * teams["token.exp_1-1.x"]


def test_a_service_without_languages_has_listeners_of_one() -> None:
    done = have_listened(Played(languages=()))
    assert done.n_after > 0


def test_a_busy_service_is_asked_again() -> None:
    played = Played()
    played.busy = 3
    assert have_listened(played, days_before=0).n_after > 0


def test_a_service_that_stays_busy_is_given_up() -> None:
    played = Played()
    played.busy = simulated.TRIES
    with pytest.raises(SimulationFailed, match="busy"):
        have_listened(played)


@pytest.mark.parametrize(
    ("played", "changes", "said"),
    [
        (Played(state="draft"), {}, "is draft: start it first"),
        (Played(), {"experiment_id": "exp_9"}, "There is no such thing"),
        (Played(), {"languages": (Language(name="fr", share=1), Language(name="ar", share=1))}, "language 'fr'"),
        (lambda _request: httpx2.Response(200, text="<html>"), {}, "does not answer as Segue"),
        (lambda _request: httpx2.Response(500, json=["oh"]), {}, "oh"),
    ],
)
def test_what_is_refused_is_told_in_the_service_s_words(
    played: Callable[[httpx2.Request], httpx2.Response], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SimulationFailed, match=said):
        have_listened(played, **changes)


def test_a_service_without_songs_and_one_that_takes_no_plays() -> None:
    empty, full = Played(), Played()
    empty.songs = []
    full.verdict = "rejected"
    for played, said in ((empty, "knows no songs"), (full, "It is late.")):
        with pytest.raises(SimulationFailed, match=said):
            have_listened(played)


def test_a_batch_that_is_too_large_is_sent_in_parts() -> None:
    played = Played()

    def small(request: httpx2.Request) -> httpx2.Response:
        is_large = request.url.path == "/v1/plays" and len(request.content) > 5_000
        return httpx2.Response(413, json={"detail": "too large"}) if is_large else played(request)

    done = have_listened(small)
    assert len(played.plays) == done.n_before + done.n_after > 100
    with pytest.raises(SimulationFailed, match="too large"):
        have_listened(
            lambda request: httpx2.Response(413, json={"detail": "too large"}) if request.content else played(request)
        )


def test_a_day_that_is_told_at_once_follows_the_answer_in_the_order_heard() -> None:
    played, whole = Played(), Played()
    done, over_a_day = have_listened(played, at_once=True), have_listened(whole)
    since = [play for play in played.plays if datetime.fromisoformat(play["played_at"]) > NOW + timedelta(seconds=4)]
    assert len(since) == done.n_after == len({play["event_id"] for play in since})
    assert max(datetime.fromisoformat(play["played_at"]) for play in since) < NOW + timedelta(minutes=1)
    assert all(played.variant(play["user_id"]) is not None for play in since)
    assert done.n_exposed == over_a_day.n_exposed
