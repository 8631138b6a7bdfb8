"""Simulated users of a running service: they hear, ask for an experiment's lists, and hear what they are given.

    its songs ──► plays of the days before ──► each asks once ──► plays of the day to come, some of the songs given

The service assigns, and records exposures. A user is asked for whoever has a session on the day; songs that are played
because they were recommended carry the token of the list, or their own where they have one.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.domain.attribution import parsed
from app.domain.plays import EventType
from app.simulation.listeners import Language, Songs
from app.simulation.listening import DAY_MS, Plays, sessions_of
from app.simulation.scenario import CONTROL, OUTSIDE, TREATMENT, Scenario, SimulationFailed, World

Json = dict[str, Any]

MOST_SONGS = 5_000
PLAYS_AT_ONCE = 1_000
TRIES = 6
LONGEST_WAIT_S = 10.0
USUAL_DURATION_S = 215.0
K = 20

BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class BodyTooLarge(SimulationFailed):
    """The service takes smaller bodies."""

    code = "body_too_large"


class Service:
    """A running service; every refusal becomes SimulationFailed with the service's own words."""

    def __init__(self, url: str, *, key: str, http: httpx2.Client | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx2.Client(base_url=url, timeout=30, headers=headers) if http is None else http

    def __enter__(self) -> Self:
        """Begin to speak to it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Let the connections go."""
        self._http.close()

    def get(self, path: str, **parameters: str | int) -> Json:
        """A resource. Raises: SimulationFailed."""
        return self._answer(lambda: self._http.get(path, params=parameters))

    def post(self, path: str, body: Json) -> Json:
        """Send something. Raises: SimulationFailed."""
        return self._answer(lambda: self._http.post(path, json=body))

    def _answer(self, ask: Callable[[], httpx2.Response]) -> Json:
        for left in reversed(range(TRIES)):
            try:
                response = ask()
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise SimulationFailed(f"The service cannot be reached: {error}") from error
            if response.status_code not in BUSY or not left:
                break
            time.sleep(min(LONGEST_WAIT_S, float(response.headers.get("Retry-After", 1))))
        try:
            answer = response.json()
        except ValueError as error:
            raise SimulationFailed(f"{response.request.url} does not answer as Segue does.") from error
        if response.is_error:
            said = answer.get("detail", response.text) if isinstance(answer, dict) else response.text
            kind = BodyTooLarge if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else SimulationFailed
            raise kind(f"{response.request.method} {response.request.url.path}: {said}")
        found: Json = answer
        return found


@dataclass(frozen=True, slots=True)
class Given:
    """The list of one user: ids of songs, and of each the token to send; those whose token names the second variant.

    `at_ms` is when it was given, by the service's clock.
    """

    variant: str
    at_ms: int
    song_ids: Sequence[str]
    tokens: Sequence[str]
    is_second: np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(slots=True)
class Done:
    """What was made: exposures by variant, users who are not in the experiment, and plays."""

    n_exposed: Counter[str] = field(default_factory=Counter)
    n_outside: int = 0
    n_before: int = 0
    n_after: int = 0


def listen(
    service: Service,
    experiment_id: str,
    *,
    column: str,
    scenario: Callable[[tuple[Language, ...]], Scenario],
    console: Console,
    at_once: bool = False,
) -> Done:
    """Have users listen; `scenario` is given the languages that the songs have.

    `at_once`: what would be heard in a day is told as heard a millisecond apart, from the answer on: results need not
    be waited for, but all sessions of the day are one. Raises: SimulationFailed.
    """
    experiment = service.get(f"/v1/experiments/{quote(experiment_id, safe='')}")
    if experiment["state"] != "running":
        raise SimulationFailed(f"Experiment {experiment_id} is {experiment['state']}: start it first.")
    found = _songs(service, str(experiment["alias"]))
    chosen = scenario(_languages(found, column))
    world = World.of(chosen, songs=_known(found, column, chosen.languages), is_one_day=True)
    users = _Users(service, world, experiment, ids=[f"simulated-{chosen.seed}-{n}" for n in range(chosen.n_users)])
    for number in range(-chosen.days_before, 0):
        users.send(world.day(number), {})
        users.done.n_before, users.done.n_after = users.done.n_before + users.done.n_after, 0
    n_sessions = sessions_of(world.draws, world.listeners)
    with _bar(console, int((n_sessions > 0).sum())) as advance:
        given = users.ask(np.flatnonzero(n_sessions).tolist(), advance)
    heard = world.day(0, n_sessions=n_sessions)
    users.send(_told_at_once(heard, given) if at_once else heard, given)
    return users.done


def _told_at_once(plays: Plays, given: Mapping[int, Given]) -> Plays:
    """The plays of users who are in the experiment, a millisecond apart from when they were given their list."""
    is_inside = np.isin(plays.user, list(given))
    user = plays.user[is_inside]
    order = np.arange(len(user)) - np.searchsorted(user, user)  # users stand together, in order
    since_ms = np.array([given[listener].at_ms for listener in user.tolist()], dtype=np.int64)
    return replace(
        plays,
        user=user,
        song=plays.song[is_inside],
        session=plays.session[is_inside],
        at_ms=since_ms + 1 + order,
        seconds=plays.seconds[is_inside],
        is_skip=plays.is_skip[is_inside],
        is_recommended=plays.is_recommended[is_inside],
    )


class _Users:
    """The listeners of a world, as users of a service."""

    def __init__(self, service: Service, world: World, experiment: Json, *, ids: Sequence[str]) -> None:
        self._service = service
        self._world = world
        self._id = str(experiment["id"])
        self._control = str(experiment["variants"][0]["name"])
        self._is_interleaving = experiment["kind"] == "interleaving"
        self._ids = ids
        self.done = Done()

    def ask(self, users: Sequence[int], advance: Callable[[], None]) -> dict[int, Given]:
        """The lists of users who are in the experiment; the world's variants become what the service says."""
        world = self._world
        world.variant[:] = OUTSIDE
        lists: dict[int, Given] = {}
        for user in users:
            answer = self._service.get(
                f"/v1/users/{quote(self._ids[user], safe='')}/recommendations", experiment=self._id, k=K
            )
            given = self._given(answer)
            if given is None:
                self.done.n_outside += 1
            else:
                lists[user] = given
                is_control = self._is_interleaving or given.variant == self._control
                world.variant[user] = CONTROL if is_control else TREATMENT
                self.done.n_exposed[given.variant] += 1
            advance()
        return lists

    def _given(self, answer: Json) -> Given | None:
        experiment = answer["experiment"]
        if experiment is None or experiment["variant"] is None:
            return None
        songs = answer["recommendations"]
        tokens = [str(song.get("attribution", answer["attribution"])) for song in songs]
        second = f".{self._id}-2."
        return Given(
            str(experiment["variant"]),
            parsed(str(answer["attribution"])).issued_at_ms,
            [str(song["song_id"]) for song in songs],
            tokens,
            np.array([second in token for token in tokens], dtype=np.bool_),
        )

    def send(self, plays: Plays, given: Mapping[int, Given]) -> None:
        """Send the plays of a day; those recommended are of the list that the user was given, if any was."""
        scenario = self._world.scenario
        last_ms = scenario.start_ms + DAY_MS
        rows: list[Json] = []
        for place in np.flatnonzero(plays.at_ms < last_ms).tolist():
            rows.append(self._row(plays, place, given.get(int(plays.user[place]))))
            if len(rows) == PLAYS_AT_ONCE:
                self._post(rows)
                rows = []
        if rows:
            self._post(rows)

    def _row(self, plays: Plays, place: int, given: Given | None) -> Json:
        world = self._world
        song, user, at_ms = int(plays.song[place]), int(plays.user[place]), int(plays.at_ms[place])
        row: Json = {
            "event_id": f"simulated-{world.scenario.seed}-{user}-{at_ms}",
            "user_id": self._ids[user],
            "song_id": world.songs.ids[song],
            "played_at": f"{np.datetime64(at_ms, 'ms')}Z",
            "seconds_streamed": float(plays.seconds[place]),
            "event_type": (EventType.SKIP if plays.is_skip[place] else EventType.PLAY).value,
            "duration_s": float(world.songs.durations_s[song]),
        }
        if given is not None and given.song_ids and plays.is_recommended[place]:
            chosen = self._chosen(given, user)
            row |= {"song_id": given.song_ids[chosen], "attribution": given.tokens[chosen]}
        return row

    def _chosen(self, given: Given, user: int) -> int:
        """Which of the songs given: the first ones most, those of the second model by its effect more."""
        world = self._world
        language = world.scenario.languages[int(world.listeners.language[user])].name
        effect = world.scenario.effects.get(language)
        liking = 1.0 + (0.0 if effect is None else effect.recommended) * given.is_second
        weights = liking / np.log2(2.0 + np.arange(len(given.song_ids)))
        return int(world.draws.choice(len(weights), p=weights / weights.sum()))

    def _post(self, rows: list[Json]) -> None:
        try:
            answer = self._service.post("/v1/plays", {"plays": rows})
        except BodyTooLarge:
            if len(rows) == 1:
                raise
            middle = len(rows) // 2
            self._post(rows[:middle])
            self._post(rows[middle:])
            return
        refused = next((each for each in answer["verdicts"] if each["verdict"] == "rejected"), None)
        if refused is not None:
            raise SimulationFailed(f"A play was refused: {refused['reason']['detail']}")
        self.done.n_after += int(answer["n_accepted"])


def _songs(service: Service, alias: str) -> list[Json]:
    """The most played songs that the alias's model knows."""
    found: list[Json] = []
    cursor: dict[str, str] = {}
    while len(found) < MOST_SONGS:
        page = service.get("/v1/songs", alias=alias, limit=100, **cursor)
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": str(page["next_cursor"])}
    if not found:
        raise SimulationFailed(f"The model of alias {alias!r} knows no songs.")
    return found


def _languages(songs: Sequence[Json], column: str) -> tuple[Language, ...]:
    """The languages of the songs, each with its share; where there are none, one without a name for all."""
    counts = Counter(str(song["details"][column]) for song in songs if song["details"].get(column) is not None)
    if not counts:
        return (Language(name="any", share=1.0),)
    return tuple(Language(name=name, share=n / counts.total()) for name, n in sorted(counts.items()))


def _known(songs: Sequence[Json], column: str, languages: Sequence[Language]) -> Songs:
    number = {language.name: place for place, language in enumerate(languages)}
    spoken = [number.get(str(song["details"].get(column)), -1) for song in songs]
    missing = [language.name for place, language in enumerate(languages) if place not in spoken]
    if missing and len(languages) > 1:
        raise SimulationFailed(f"No song of the service has the {column} {missing[0]!r}.")
    return Songs(
        ids=[str(song["song_id"]) for song in songs],
        language=np.array(spoken, dtype=np.int64),
        durations_s=np.array([_duration_s(song["details"]) for song in songs]),
    )


def _duration_s(details: Json) -> float:
    match details.get("duration_s"):
        case (int() | float()) as seconds if seconds > 0:
            return float(seconds)
        case _:
            return USUAL_DURATION_S


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("users", total=total)
        yield lambda: progress.advance(bar)
