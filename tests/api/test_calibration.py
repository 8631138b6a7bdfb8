"""The ledger over HTTP: pages, what all experiments say, and what is declined."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.experiments.assignment import allocated
from app.domain.experiments.calibration import (
    FEWEST,
    FEWEST_TO_PREDICT,
    Comparison,
    Finding,
    Measured,
    OnlineLift,
)
from app.domain.experiments.experiment import Experiment
from app.domain.models import Bundle
from app.services.calibrating import CalibrationService
from tests.api.world import World, app_on, client_of, container_on
from tests.values import NOON, experiment


def no_lifts(_experiment: Experiment) -> Sequence[OnlineLift]:
    """Nothing was found out yet."""
    reason = "Too few users."
    return [OnlineLift(variant="treatment", segment=None, lift=None, n_users=3, reason=reason)]


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    built = container_on(sqlite_url, tmp_path / "store")
    units = built.experiments._units
    built.calibration = CalibrationService(units, gates=built.gates, online=no_lifts)
    app = app_on(built)
    with client_of(app) as client:
        yield World(built, app, client)


def measured(value: float) -> Measured:
    return Measured(value=value, low=value - 0.01, high=value + 0.01)


def finished(world: World, n: int, *, stored: bool = True) -> None:
    """Experiments whose lifts are twice their differences, in one segment four times."""
    units = world.container.experiments._units
    pinned = {"control": Bundle(default="mdl_1"), "treatment": Bundle(default="mdl_1")}
    allocation = allocated([], at=NOON, share=1.0, weights={"control": 1, "treatment": 1}, taken=())
    with units() as unit:
        for number in range(n):
            identity = f"exp_{number:02d}"
            started = experiment(identity).started(at=NOON, allocation=allocation, pinned=pinned)
            unit.experiments.add(started.stopped(at=NOON + timedelta(days=1)))
            x = 0.01 * number
            found = [
                Comparison(
                    experiment_id=identity,
                    variant="treatment",
                    segment=segment,
                    offline={"hit_ratio": measured(x), "ndcg": measured(x / 2)},
                    n_pairs=500,
                    lift=measured(times * x),
                    n_users=1_000,
                )
                for segment, times in ((None, 2), ("ar", 4))
            ]
            finding = Finding(
                experiment_id=identity,
                name=f"number {number}",
                goal="seconds_per_session",
                comparisons=tuple(found),
                found_at=NOON + timedelta(days=2),
            )
            if stored:
                unit.findings.add([finding])
        unit.commit()


def read(world: World, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - any value
    answer = world.client.get("/v1/calibration", params=parameters)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def one(told: dict[str, Any], measure: str, segment: str | None) -> dict[str, Any]:
    (found,) = (each for each in told["calibrations"] if (each["measure"], each["segment"]) == (measure, segment))
    assert isinstance(found, dict)
    return found


def test_an_empty_ledger_says_what_it_takes(world: World) -> None:
    told = read(world, hit_ratio=0.01)
    assert (told["items"], told["next_cursor"]) == ([], None)
    assert (told["fewest_experiments"], told["fewest_to_predict"]) == (FEWEST, FEWEST_TO_PREDICT)
    for found in told["calibrations"]:
        assert (found["correlation"], found["prediction"]) == (None, None)
        assert str(FEWEST) in found["reason"]
        assert str(FEWEST_TO_PREDICT) in found["no_prediction"]


def test_with_enough_experiments_a_lift_is_predicted_overall_and_by_segment(world: World) -> None:
    finished(world, FEWEST_TO_PREDICT)
    told = read(world, hit_ratio=0.05, limit=2)
    overall, arabic = one(told, "hit_ratio", None), one(told, "hit_ratio", "ar")
    assert overall["correlation"]["value"] == pytest.approx(1.0)
    assert overall["correlation"]["low"] < 1.0
    assert overall["prediction"]["lift"] == pytest.approx(0.1)
    assert arabic["prediction"]["lift"] == pytest.approx(0.2)
    assert one(told, "ndcg", None)["prediction"] is None
    assert one(read(world, ndcg=0.05), "ndcg", None)["prediction"]["lift"] == pytest.approx(0.2)


def test_below_that_it_declines(world: World) -> None:
    finished(world, FEWEST_TO_PREDICT - 1)
    found = one(read(world, hit_ratio=0.05), "hit_ratio", None)
    assert found["correlation"] is not None
    assert found["prediction"] is None
    assert found["no_prediction"] == "A prediction takes at least 19 experiments; there are 18."


def test_pages_are_of_experiments_the_newest_first(world: World) -> None:
    finished(world, 5)
    first = read(world, limit=3)
    second = read(world, limit=3, cursor=first["next_cursor"])
    ids = [each["experiment_id"] for each in [*first["items"], *second["items"]]]
    assert ids == [f"exp_{number:02d}" for number in (4, 3, 2, 1, 0)]
    assert second["next_cursor"] is None
    (overall, arabic) = first["items"][0]["comparisons"]
    assert (overall["segment"], arabic["segment"]) == (None, "ar")
    assert arabic["hit_ratio"] == pytest.approx({"value": 0.04, "low": 0.03, "high": 0.05})
    assert (arabic["n_pairs"], arabic["n_users"], arabic["reasons"]) == (500, 1_000, [])
    assert first["items"][0]["goal"] == "seconds_per_session"


def test_what_is_not_known_is_null_with_its_reasons(world: World) -> None:
    finished(world, 1, stored=False)
    (found,) = read(world)["items"]
    (comparison,) = found["comparisons"]
    assert (comparison["hit_ratio"], comparison["ndcg"], comparison["lift"]) == (None, None, None)
    assert comparison["reasons"] == [
        "Both variants have the same model: they differ in how it serves.",
        "Too few users.",
    ]
    assert read(world)["items"] == [found]


@pytest.mark.parametrize(
    "parameters", [{"hit_ratio": 1.5}, {"ndcg": "nan"}, {"ndcg": "much"}, {"limit": 0}, {"cursor": "?"}, {"lift": 1}]
)
def test_bad_parameters_are_named(world: World, parameters: dict[str, Any]) -> None:
    answer = world.client.get("/v1/calibration", params=parameters)
    assert answer.status_code == 422
    assert next(iter(parameters)) in answer.json()["errors"][0]["pointer"]
