"""A promotion is atomic: all servers follow it, no request fails in it, and a damaged model never serves."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from app.adapters.sql.migrating import upgrade
from app.services.leasing import artifact_name
from tests.journeys.house import House, opened, settings_for
from tests.journeys.http import Json, answered, client, ended_study, promoted_model, served, study_body, until_live
from tests.journeys.listening import Compiled
from tests.processes import until

SONG = "song-7"
N_MOVES = 200
N_ASKERS = 8
REQUESTS_A_SECOND = 200


@dataclass(frozen=True)
class Service:
    """Two servers on one database, and two models of two studies."""

    house: House
    servers: tuple[httpx2.Client, httpx2.Client]
    models: tuple[str, str]

    def until_live(self, model_id: str, *, generation: int | None = None, alias: str = "production") -> None:
        """Return once both servers serve the model, as this generation."""
        for http in self.servers:
            until_live(http, model_id, generation=generation, alias=alias)

    def point(self, model_id: str, *, alias: str = "production") -> None:
        """Point the alias at a model and wait until it serves."""
        moved = answered(self.servers[0].put(f"/v1/aliases/{alias}", json={"model_id": model_id}), 200)
        self.until_live(model_id, generation=moved["generation"], alias=alias)

    def moves(self, alias: str = "production") -> list[tuple[str, int]]:
        """Model and generation of every move of the alias, the last first."""
        history = answered(self.servers[0].get(f"/v1/aliases/{alias}/history", params={"limit": 100}), 200)
        return [(move["model_id"], move["generation"]) for move in history["items"]]


@pytest.fixture(scope="module")
def service(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("house")
    url = f"sqlite:///{folder / 'segue.db'}"
    upgrade(url)
    with opened(settings_for(folder, compiled, database_url=url), compiled) as house:
        house.worker()
        dataset = house.dataset()
        with client(house.server()) as one, client(house.server()) as other:
            models = []
            for seed in range(2):
                asked = answered(one.post("/v1/studies", json=study_body(dataset, epochs=5, seed=seed)), 202)
                models.append(promoted_model(one, ended_study(other, asked["id"])["id"])["id"])
            yield Service(house, (one, other), (models[0], models[1]))


def test_a_promoted_model_serves_in_every_process_at_the_same_generation(service: Service) -> None:
    latest, generation = service.moves()[0]
    service.until_live(latest, generation=generation)
    answers = [answered(http.get(f"/v1/songs/{SONG}/neighbours"), 200) for http in service.servers]
    assert answers[0] == answers[1]
    assert (answers[0]["model_id"], answers[0]["generation"]) == (latest, generation)
    assert len(answers[0]["neighbours"]) == 10
    assert SONG not in {song["song_id"] for song in answers[0]["neighbours"]}
    first_moves = sorted(service.moves(), key=lambda move: move[1])[:2]
    assert first_moves == [(service.models[0], 1), (service.models[1], 2)]


class Asker(threading.Thread):
    """Asks for neighbours again and again, its part of the requests a second, and compares them with the model's."""

    def __init__(self, http: httpx2.Client, enough: threading.Event, *, nearest: dict[str, list[str]]) -> None:
        super().__init__(daemon=True)
        self._http = http
        self._enough = enough
        self._nearest = nearest
        self.seen: list[tuple[str, int]] = []
        self.refused: list[str] = []
        self.mixed: list[str] = []

    def run(self) -> None:
        due_s = time.monotonic()
        while not self._enough.wait(max(0.0, due_s - time.monotonic())):
            due_s += N_ASKERS / REQUESTS_A_SECOND
            try:
                response = self._http.get(f"/v1/songs/{SONG}/neighbours")
            except httpx2.TransportError as error:
                self.refused.append(repr(error))
                continue
            if response.status_code == httpx2.codes.OK:
                answer = response.json()
                self.seen.append((answer["model_id"], answer["generation"]))
                if ids_of(answer) != self._nearest[answer["model_id"]]:
                    self.mixed.append(response.text)
            else:
                self.refused.append(response.text)


def ids_of(answer: Json) -> list[str]:
    """The neighbours of an answer."""
    return [near["song_id"] for near in answer["neighbours"]]


def test_no_request_fails_and_no_answer_is_mixed_while_the_alias_moves(service: Service) -> None:
    nearest = {}
    for model_id in reversed(service.models):
        service.point(model_id)
        nearest[model_id] = ids_of(answered(service.servers[0].get(f"/v1/songs/{SONG}/neighbours"), 200))
    assert nearest[service.models[0]] != nearest[service.models[1]]
    enough = threading.Event()
    askers = [Asker(service.servers[number % 2], enough, nearest=nearest) for number in range(N_ASKERS)]
    for asker in askers:
        asker.start()
    try:
        for number in range(N_MOVES):
            http = service.servers[number % 2]
            if number % 3 == 2:
                moved = answered(http.post("/v1/aliases/production/rollback"), 200)
            else:
                body = {"model_id": service.models[(number + 1) % 2]}
                moved = answered(http.put("/v1/aliases/production", json=body), 200)
            if number % 10 == 9:
                service.until_live(moved["model_id"], generation=moved["generation"])
    finally:
        enough.set()
        for asker in askers:
            asker.join(30)
    for asker in askers:
        assert (asker.refused, asker.mixed) == ([], [])
        generations = [generation for _, generation in asker.seen]
        assert generations == sorted(generations)
        assert len(set(generations)) > 10


def flip(path: Path) -> None:
    """Flip one bit of a file; a second time, the file is as it was."""
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def test_a_damaged_model_is_refused_the_old_one_serves_and_once_mended_it_is_live(service: Service) -> None:
    first, second = service.models
    service.point(first)
    attempt = service.house.container.models.get(second).attempt
    vectors = service.house.settings.data_dir / "models" / artifact_name(second, attempt) / "vectors.npy"
    before = [answered(http.get(f"/v1/songs/{SONG}/neighbours"), 200) for http in service.servers]
    flip(vectors)
    try:
        moved = answered(service.servers[0].put("/v1/aliases/production", json={"model_id": second}), 200)
        for http, earlier in zip(service.servers, before, strict=True):
            assert_refused(http, model_id=second, served_model_id=first)
            assert answered(http.get(f"/v1/songs/{SONG}/neighbours"), 200) == earlier
    finally:
        flip(vectors)
    service.until_live(second, generation=moved["generation"])
    for http in service.servers:
        answer = answered(http.get(f"/v1/songs/{SONG}/neighbours"), 200)
        assert (answer["model_id"], answer["generation"]) == (second, moved["generation"])


def assert_refused(http: httpx2.Client, *, model_id: str, served_model_id: str) -> None:
    """The server says why it does not serve what it should, and what it serves instead."""

    def is_refused() -> bool:
        found = served(http)
        return found is not None and found["wanted_model_id"] == model_id and found["error"] is not None

    until(is_refused, "the damage is noticed")
    assert answered(http.get("/health/ready"), 200)["is_ready"]
    found = served(http)
    assert found is not None
    assert found["live_model_id"] == served_model_id
    assert "vectors.npy" in found["error"]
    assert "/" not in found["error"].replace("models/", "")
