"""A client of the public HTTP API, as a test needs it."""

from typing import Any

import httpx2

from app.domain.datasets import Dataset
from tests.journeys.house import QUICK, SMALL
from tests.journeys.patient import Patient
from tests.keys import HEADERS
from tests.processes import Server, until

Json = dict[str, Any]


def client(server: Server, *, timeout_s: float = 30.0) -> httpx2.Client:
    """A client of one server."""
    return httpx2.Client(base_url=server.url, timeout=timeout_s, headers=HEADERS, transport=Patient())


def study_body(dataset: Dataset, *, epochs: int = QUICK, **changes: object) -> Json:
    """A small random study that tunes the learning rate."""
    return {
        "dataset_id": dataset.id,
        "algorithm": "random",
        "n_initial": 2,
        "n_iterations": 0,
        "epochs": epochs,
        "baselines": False,
        "search_space": {name: {"value": value} for name, value in SMALL.items()},
    } | changes


def answered(response: httpx2.Response, status: int) -> Json:
    """The body of an answer that has this status."""
    assert response.status_code == status, response.text
    body: Json = response.json()
    return body


def ended_study(http: httpx2.Client, study_id: str) -> Json:
    """The study, once it has completed."""
    path = f"/v1/studies/{study_id}"
    until(lambda: http.get(path).json()["state"] not in {"queued", "running"}, "the study has ended", within_s=120)
    study = answered(http.get(path), 200)
    assert study["state"] == "completed", study
    return study


def promoted_model(http: httpx2.Client, study_id: str, *, alias: str = "production", **changes: object) -> Json:
    """The model of a completed study, once a worker has built it and the alias has moved."""
    asked = http.post(f"/v1/studies/{study_id}/promote", json={"alias": alias} | changes)
    path = f"/v1/models/{answered(asked, 202)['id']}"
    until(lambda: http.get(path).json()["state"] != "building", "the model is built", within_s=120)
    model = answered(http.get(path), 200)
    assert model["state"] == "ready", model
    return model


def served(http: httpx2.Client, alias: str = "production") -> Json | None:
    """How far a server has followed an alias; None while it knows of none."""
    aliases: list[Json] = http.get("/health/ready").json()["aliases"]
    return next((found for found in aliases if found["alias"] == alias), None)


def until_live(http: httpx2.Client, model_id: str, *, generation: int | None = None, alias: str = "production") -> None:
    """Return once a server serves the model, and where a generation is given, as that one."""

    def is_live() -> bool:
        found = served(http, alias)
        if found is None or not found["live_model_id"] == found["wanted_model_id"] == model_id:
            return False
        return generation is None or found["live_generation"] == generation

    until(is_live, f"{model_id} serves as {alias}")
