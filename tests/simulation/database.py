"""A scenario in a database: an experiment, its exposures, and all plays, as the service would have stored them."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from app.adapters.sql import tables
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.experiments.assignment import allocated
from app.domain.experiments.experiment import Experiment
from app.domain.experiments.metrics import MetricRole, from_preset
from app.domain.models import Bundle
from app.simulation.rows import Names, exposures_table, plays_table
from app.simulation.scenario import World
from tests.simulation.reading import COVARIATE_DAYS
from tests.values import experiment

IDENTITY = "exp_1"
GOAL = "seconds_per_session"
OTHERS = ("sessions_per_user", "attributed_plays", "skip_rate", "completion", "returned_after_1_day")
ROWS_AT_ONCE = 50_000


def stored(world: World, engine: Engine) -> Experiment:
    """The experiment, stopped at the end of the scenario, once everybody has lived through it."""
    scenario, names = world.scenario, Names(experiment_id=IDENTITY)
    start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (scenario.start_ms, scenario.ends_ms))
    metrics = (
        from_preset(GOAL, MetricRole.GOAL),
        *(from_preset(name, MetricRole.SECONDARY) for name in OTHERS),
    )
    draft = experiment(IDENTITY, metrics=metrics, planned_days=scenario.days, covariate_days=COVARIATE_DAYS)
    allocation = allocated([], at=start, share=1.0, weights=draft.spec.weights, taken=())
    pinned = {name: Bundle(default=model) for name, model in zip(names.variants, names.models, strict=True)}
    found = draft.started(at=start, allocation=allocation, pinned=pinned).stopped(at=end)
    with SqlUnitsOfWork(engine)() as unit:
        unit.experiments.add(found)
        unit.commit()
    for number, plays in enumerate(world.days()):
        rows = plays_table(plays, world, day=number, names=names).to_pylist()
        for row in rows:
            row["played_at_ms"] = round(row.pop("played_at").timestamp() * 1000)
            row["received_at"] = end
        _insert(engine, tables.plays, rows)
    exposures = exposures_table(world, names=names).to_pylist()
    for row in exposures:
        row["exposed_at_ms"] = round(row.pop("exposed_at").timestamp() * 1000)
        row |= {"experiment_id": IDENTITY, "revision": 0}
    _insert(engine, tables.exposures, exposures)
    return found


def _insert(engine: Engine, table: sa.Table, rows: list[dict[str, object]]) -> None:
    with engine.begin() as connection:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            connection.execute(sa.insert(table), rows[start : start + ROWS_AT_ONCE])
