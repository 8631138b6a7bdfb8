"""Studies asked for and carried out while server, workers, runners and children are killed everywhere; then counted.

Each program gets a fate (`tests.journeys.doomed`) and is started again with the next one when it has died. A client
asks for studies all the while and asks again, under the same key, until it is answered; it keeps whatever it was told.
"""

import random
import re
import socket
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2

from app.domain.datasets import Dataset
from app.domain.tuning.study import MAX_BUDGET
from app.domain.tuning.trial import TrialState
from tests.journeys.doomed import Death, Fate
from tests.journeys.house import House
from tests.journeys.http import Json, study_body
from tests.keys import HEADERS

FATAL_TO_WORKERS = {
    "commit": (5, 8),
    "claim": (2, 4),
    "spawn": (2, 4),
    "publish": (1, 2),
    "report": (2, 4),
}
"""At which pass a worker dies: at any from the first to the second, at random. A trial is two commits or three."""

FATAL_BELOW = {"fork": (1, 2), "child": (1, 2)}
FATAL_TO_SERVERS = {"commit": (1, 3)}

N_WORKERS = 2
N_OPEN = 4
"""Studies that the client leaves open before it asks for the next."""

N_TRIALS = 3
MOST_ATTEMPTS = 20
PATIENCE_S = 60.0
"""How long nobody may die, or a client may wait for an answer, while others are started again."""

TROUBLE = re.compile(r"Traceback|locked|deadlock|The database is away", re.IGNORECASE)
"""What no program may write, however often others are killed."""


@dataclass
class Told:
    """What the client was told: ids of studies by key, and trials by id as they were shown."""

    studies: dict[str, str] = field(default_factory=dict)
    trials: dict[str, Json] = field(default_factory=dict)


class Client(threading.Thread):
    """Asks for studies and looks at their trials until told to stop, then until the last question is answered."""

    def __init__(self, url: str, dataset: Dataset) -> None:
        super().__init__(daemon=True)
        self._http = httpx2.Client(base_url=url, timeout=10.0, headers=HEADERS)
        self._dataset = dataset
        self._stopping = threading.Event()
        self.told = Told()
        self.error: Exception | None = None

    def stop(self) -> None:
        """Ask for nothing more; wait for the answers that are due."""
        self._stopping.set()
        self.join(PATIENCE_S)
        assert not self.is_alive(), "The client was never answered."
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """See the class."""
        try:
            with self._http:
                while not self._stopping.is_set():
                    if len(self._open()) < N_OPEN:
                        self._ask()
                    self._stopping.wait(0.05)
        except Exception as error:  # raised again by whoever stops the client
            self.error = error

    def _ask(self) -> None:
        key = uuid.uuid4().hex
        body = study_body(
            self._dataset,
            n_initial=N_TRIALS,
            parallelism=N_WORKERS,
            max_attempts=MOST_ATTEMPTS,
            seed=len(self.told.studies),
        )
        answer = self._answered("POST", "/v1/studies", json=body, headers={"Idempotency-Key": key})
        self.told.studies[key] = answer["id"]

    def _open(self) -> list[str]:
        """Studies that have not ended; their trials are noted as they are shown."""
        found = []
        for study in self._answered("GET", "/v1/studies", params={"limit": 2 * N_OPEN})["items"]:
            for trial in self._answered("GET", f"/v1/studies/{study['id']}/trials")["items"]:
                self.told.trials[trial["id"]] = trial
            if study["state"] in {"queued", "running"}:
                found.append(study["id"])
        return found

    def _answered(self, method: str, path: str, **request: Any) -> Json:  # noqa: ANN401 - as httpx takes it
        """The answer, whoever dies before it is given."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                response = self._http.request(method, path, **request)
            except httpx2.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            if response.status_code // 100 != 2:
                raise AssertionError(response.text)
            body: Json = response.json()
            return body


@dataclass(frozen=True)
class Toll:
    """How a mayhem ended. `deaths` by program and point."""

    deaths: Counter[tuple[str, str]]
    n_studies: int
    n_trials_told: int
    n_reports: int
    n_attempts_lost: int
    seconds: float


class Mayhem:
    """One mayhem in a house."""

    def __init__(self, house: House, *, n_kills: int, seed: int) -> None:
        self._house = house
        self._n_kills = n_kills
        self._port = _free_port()
        moments = random.Random(seed)  # noqa: S311 - fates, no secrets
        self._own = _fates(FATAL_TO_WORKERS, moments)
        self._below = _fates(FATAL_BELOW, moments)
        self._servers = _fates(FATAL_TO_SERVERS, moments)
        self._roles: dict[int, str] = {}

    def run(self) -> Toll:
        """Kill, end in peace, compare. Raises: AssertionError."""
        began = time.monotonic()
        client = Client(f"http://127.0.0.1:{self._port}", self._house.dataset())
        client.start()
        living = [self._server(doomed=True)] + [self._worker(doomed=True) for _ in range(N_WORKERS)]
        n_before, since = 0, time.monotonic()
        while len(self._died()) < self._n_kills:
            living = [started if started.poll() is None else self._successor(started) for started in living]
            if len(self._died()) > n_before:
                n_before, since = len(self._died()), time.monotonic()
            assert time.monotonic() < since + PATIENCE_S, f"Nobody died any more after {n_before}."
            assert client.error is None, client.error
            time.sleep(0.05)
        for started in living:
            started.kill()
            started.wait()
        self._server(doomed=False)
        for _ in range(N_WORKERS):
            self._worker(doomed=False)
        client.stop()
        self._compare(client.told)
        return self._toll(client.told, seconds=time.monotonic() - began)

    def _server(self, *, doomed: bool) -> subprocess.Popen[bytes]:
        fate = Fate(own=next(self._servers) if doomed else None, notes=self._house.notes)
        return self._started("server", fate, "app.cli", "serve", "--port", str(self._port))

    def _worker(self, *, doomed: bool) -> subprocess.Popen[bytes]:
        own, below = (next(self._own), next(self._below)) if doomed else (None, None)
        return self._started("worker", Fate(own=own, below=below, notes=self._house.notes))

    def _started(self, role: str, fate: Fate, *arguments: str) -> subprocess.Popen[bytes]:
        started = self._house.doomed(fate, *arguments)
        self._roles[started.pid] = role
        return started

    def _successor(self, dead: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        assert dead.returncode == -9, f"A {self._roles[dead.pid]} ended with {dead.returncode}: see the log."
        return self._server(doomed=True) if self._roles[dead.pid] == "server" else self._worker(doomed=True)

    def _died(self) -> list[Json]:
        return self._house.noted("died")

    def _compare(self, told: Told) -> None:
        house = self._house
        stored = house.container.studies.list(limit=MAX_BUDGET).rows
        assert sorted(study.id for study in stored) == sorted(told.studies.values()), "studies told and stored"
        for study in stored:
            house.assert_complete(study)
        trials = {trial.id: trial for study in stored for trial in house.trials(study, None)}
        for identity, shown in told.trials.items():
            kept = trials[identity]
            assert (kept.number, kept.role.value) == (shown["number"], shown["role"])
            assert kept.parameters is not None
            assert kept.parameters.alpha == shown["parameters"]["alpha"]
            if shown["state"] == "completed":
                assert (kept.objective, kept.attempt) == (shown["objective"], shown["attempt"])
        reports = house.noted("reported")
        for report in reports:
            kept = trials[report["reported"]]
            assert kept.state is TrialState.COMPLETED
            assert (kept.attempt, kept.objective) == (report["attempt"], report["objective"])
        assert max(Counter(report["reported"] for report in reports).values()) == 1, "a trial was counted twice"
        assert_untroubled(house.log)

    def _toll(self, told: Told, *, seconds: float) -> Toll:
        deaths = Counter((self._roles.get(words["pid"], "below"), words["died"]) for words in self._died())
        trials = [
            trial
            for study in told.studies.values()
            for trial in self._house.container.studies.trials(study, limit=1000).rows
        ]
        return Toll(
            deaths=deaths,
            n_studies=len(told.studies),
            n_trials_told=len(told.trials),
            n_reports=len(self._house.noted("reported")),
            n_attempts_lost=sum(trial.attempt - 1 for trial in trials),
            seconds=seconds,
        )


def assert_untroubled(log: Path) -> None:
    """Nothing that looks like a defect was written."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    assert not [line for line in lines if TROUBLE.search(line)], "\n".join(lines[-200:])


def _fates(points: dict[str, tuple[int, int]], moments: random.Random) -> Iterator[Death]:
    """One death after another: every point in turn, before it and after it."""
    names = [f"{name}.{side}" for name in points for side in ("before", "after")]
    moments.shuffle(names)
    return (Death(name, moments.randint(*points[name.partition(".")[0]])) for name in cycle(names))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
