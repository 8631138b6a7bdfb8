"""What reading a day of an experiment costs: `python -m tests.benchmarks.experiment_results [--users 1000000]`.

A day of exposures, and ten plays each, is made inside the database; then a worker goes over the plays, and the results
are read twice. It prints for SQLite and PostgreSQL

    worker            seconds of the pass over the plays that a worker makes when the day is over
    first, again      seconds of reading the results after that (asked: under 10 s on PostgreSQL)
    memory            peak of this process beyond what it had before, MB (asked: flat, whatever the users)
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import sqlalchemy as sa

from app.adapters.experiment_effects import estimate
from app.adapters.sql import tables
from app.adapters.sql.engine import create_engine
from app.adapters.sql.migrating import upgrade
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.experiments.assignment import allocated
from app.domain.experiments.metrics import MetricRole, from_preset
from app.domain.models import Bundle
from app.domain.recommending import epoch_ms
from app.services.experiment_results import ExperimentResultsService
from app.services.snapshots import SnapshotService
from tests.conftest import start_postgresql
from tests.values import FakeClock, experiment

START = datetime(2026, 1, 1, tzinfo=UTC)
METRICS = (
    from_preset("seconds_per_session", MetricRole.GOAL),
    from_preset("sessions_per_user", MetricRole.SECONDARY),
    from_preset("skip_rate", MetricRole.GUARDRAIL),
    from_preset("completion", MetricRole.SECONDARY),
    from_preset("attributed_plays", MetricRole.SECONDARY),
)
INDEXES = ("ix_plays_user_id_played_at_ms_event_id", "ix_plays_song_id_played_at_ms")


def numbers(dialect: str, name: str, n: str) -> str:
    """A table of 0 to n - 1 in a column `i`."""
    if dialect == "postgresql":
        return f"generate_series(0::bigint, {n} - 1) AS {name}(i)"
    return (
        f"(WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r WHERE i < {n} - 1) SELECT i FROM r) AS {name}"
    )


def fill(connection: sa.Connection, *, n_users: int) -> None:
    """A day's exposures and plays: 1 to 19 plays a user in up to three sessions, by instant."""
    dialect, start_ms = connection.dialect.name, epoch_ms(START)
    connection.exec_driver_sql(
        "INSERT INTO exposures (experiment_id, user_id, variant, segment, exposed_at_ms, revision) "
        "SELECT 'exp_1', 'user-' || i, CASE WHEN i % 2 = 0 THEN 'control' ELSE 'treatment' END, "
        f"CASE WHEN i % 3 = 0 THEN 'ar' ELSE 'en' END, {start_ms} + i % 43200000, 0 "
        f"FROM {numbers(dialect, 'u', str(n_users))}".replace("%", "%%" if dialect == "postgresql" else "%")
    )
    indexes = [index for index in tables.plays.indexes if index.name in INDEXES]
    for index in indexes:
        index.drop(connection)
    connection.exec_driver_sql(
        "INSERT INTO plays (event_id, user_id, song_id, played_at_ms, seconds_streamed, received_at, event_type, "
        "duration_s, attribution) "
        "SELECT 'event-' || u.i || '-' || j.i, 'user-' || u.i, 'song-' || (u.i + j.i * 17) % 50000, "
        f"{start_ms} + (u.i * 7919) % 57600000 + (j.i / 5) * 7200000 + j.i * 200000, "
        "30 + (u.i * 13 + j.i * 101) % 200, "
        "'2026-01-02 00:00:00', CASE WHEN (u.i + j.i) % 7 = 0 THEN 'skip' ELSE 'play' END, 240, "
        "CASE WHEN j.i % 3 = 0 THEN 'v1.exp_1-1.mdl_0123456789abcdef.1.1767225600000.abcdefgh' END "
        f"FROM {numbers(dialect, 'u', str(n_users))} JOIN {numbers(dialect, 'j', '19')} ON j.i <= u.i % 19 "
        "ORDER BY 4".replace("%", "%%" if dialect == "postgresql" else "%")
    )
    for index in indexes:
        index.create(connection)


def measure(url: str, *, n_users: int) -> None:
    """Fill a database and read it."""
    upgrade(url)
    engine = create_engine(url)
    clock = FakeClock(START + timedelta(days=1, hours=1))
    units = SqlUnitsOfWork(engine, clock=clock)
    allocation = allocated([], at=START, share=1.0, weights={"control": 1, "treatment": 1}, taken=())
    pinned = {name: Bundle(default="mdl_1") for name in ("control", "treatment")}
    with units() as unit:
        unit.experiments.add(
            experiment("exp_1", metrics=METRICS).started(at=START, allocation=allocation, pinned=pinned)
        )
        unit.commit()
    began = time.perf_counter()
    with engine.begin() as connection:
        fill(connection, n_users=n_users)
        n_plays = connection.execute(sa.text("SELECT count(*) FROM plays")).scalar_one()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    print(f"{engine.dialect.name}: {n_users} exposures, {n_plays} plays, made in {time.perf_counter() - began:.0f} s")
    snapshots = SnapshotService(units)
    service = ExperimentResultsService(units, snapshots=snapshots, estimate=estimate)
    before = getrusage(RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    if snapshots.refresh() != 1:
        sys.exit("The worker had nothing to do.")
    print(f"    worker   {time.perf_counter() - began:6.2f} s")
    for name in ("first", "again"):
        began = time.perf_counter()
        report = service.results("exp_1")
        print(f"    {name:8} {time.perf_counter() - began:6.2f} s    {report.results.reason or 'effects shown'}")
    print(f"    memory   {(getrusage(RUSAGE_SELF).ru_maxrss - before) / 1024:6.0f} MB")
    engine.dispose()


@contextmanager
def databases(folder: Path, names: list[str]) -> Iterator[list[str]]:
    """URLs of new databases."""
    urls = [f"sqlite:///{folder / 'segue.db'}"] if "sqlite" in names else []
    server = start_postgresql(folder) if "postgresql" in names else None
    try:
        if server is not None:
            urls.append(server.get_uri(driver="psycopg"))
        yield urls
    finally:
        if server is not None:
            server.cleanup()


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="segue-", ignore_cleanup_errors=True) as folder,
        databases(Path(folder), asked.databases) as urls,
    ):
        for url in urls:
            measure(url, n_users=asked.users)


if __name__ == "__main__":
    main()
