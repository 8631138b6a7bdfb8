"""From listeners to results through the database: what SQL sums up is what they did, and faults withhold it."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Engine

from app.adapters.experiment_effects import estimate
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.experiments.effects import Estimate
from app.services.experiment_results import ExperimentResultsService
from app.services.snapshots import SnapshotService
from app.simulation.listeners import Effect, Language
from app.simulation.scenario import Scenario, World
from tests.benchmarks.experiments import estimated
from tests.simulation.database import GOAL, IDENTITY, stored
from tests.simulation.reading import COVARIATE_DAYS, seen

LANGUAGES = (Language(name="en", share=0.6, activity=0.4), Language(name="ar", share=0.4, activity=0.4))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def scenario(*, lost: float = 0.0, songs: float = 0.0, n_users: int = 700, seed: int = 0) -> Scenario:
    return Scenario(
        n_users=n_users,
        languages=LANGUAGES,
        effects={"ar": Effect(songs=songs)},
        days=4,
        days_before=COVARIATE_DAYS,
        n_songs=50,
        lost=lost,
        seed=seed,
    )


def service(engine: Engine) -> ExperimentResultsService:
    units = SqlUnitsOfWork(engine)
    return ExperimentResultsService(units, snapshots=SnapshotService(units), estimate=estimate)


@pytest.mark.parametrize("metric", ["skip_rate", "completion", "attributed_plays"])
def test_results_are_those_of_what_listeners_did(metric: str, engine: Engine) -> None:
    stored(World.of(scenario(songs=0.3)), engine)
    found = seen(World.of(scenario(songs=0.3)))
    direct = estimated(*(found.moments(metric, found.variant == which) for which in (0, 1)))
    results = service(engine).results(IDENTITY).results
    (result,) = (each for each in results.metrics if each.metric.name == metric)
    told = result.effects[0].estimate
    assert isinstance(told, Estimate)
    assert (told.lift, told.p_value) == pytest.approx((direct.lift, direct.p_value), rel=1e-6)
    assert {each.segment for each in result.segments} == {"ar", "en"}


def test_lost_exposures_withhold_every_effect(engine: Engine) -> None:
    stored(World.of(scenario(lost=0.4, n_users=1_000)), engine)
    results = service(engine).results(IDENTITY).results
    assert results.metrics == ()
    assert results.reason is not None
    (lift,) = service(engine).online_lifts(service(engine).results(IDENTITY).experiment)
    assert (lift.lift, lift.reason) == (None, results.reason)


def test_a_large_lift_in_arabic_alone_is_reported_in_arabic_alone(engine: Engine) -> None:
    stored(World.of(scenario(songs=2.0, n_users=1_500)), engine)
    results = service(engine).results(IDENTITY).results
    (goal,) = (each for each in results.metrics if each.metric.name == GOAL)
    adjusted = {each.segment: each.p_adjusted for each in goal.segments}
    assert adjusted["ar"] is not None
    assert adjusted["en"] is not None
    assert adjusted["ar"] < 0.05 < adjusted["en"]
