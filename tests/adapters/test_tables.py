"""What stored documents mean that were written before one of their fields existed."""

from collections.abc import Iterator
from dataclasses import asdict

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Engine

from app.adapters.sql import tables
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.datasets import Dataset, DatasetState
from app.domain.models import Lineage
from app.domain.training import Trainer
from app.domain.tuning.study import Study, StudyState
from tests.values import NOON, FakeClock, dataset_spec, study_spec

FORGET_TRAINER = {
    "sqlite": "UPDATE studies SET spec = json_remove(spec, '$.trainer')",
    "postgresql": "UPDATE studies SET spec = spec - 'trainer'",
}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def units(engine: Engine) -> SqlUnitsOfWork:
    """A database with one study, trained by Segue."""
    units = SqlUnitsOfWork(engine, clock=FakeClock())
    with units() as unit:
        unit.datasets.add(Dataset(id="dat_1", spec=dataset_spec(), state=DatasetState.READY, created_at=NOON))
        spec = study_spec("dat_1", trainer=Trainer.SEGUE)
        unit.studies.add(Study(id="std_1", spec=spec, state=StudyState.QUEUED, created_at=NOON))
        unit.commit()
    return units


def trainer(units: SqlUnitsOfWork) -> Trainer:
    with units.reading() as unit:
        return unit.studies.get("std_1").spec.trainer


def test_a_studys_trainer_is_stored(units: SqlUnitsOfWork) -> None:
    assert trainer(units) is Trainer.SEGUE


def test_a_study_from_before_there_were_trainers_is_gensims_whatever_the_default_is_now(
    units: SqlUnitsOfWork, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(FORGET_TRAINER[engine.dialect.name]))
    assert trainer(units) is Trainer.GENSIM


def test_a_model_from_before_there_were_trainers_is_gensims() -> None:
    lineage = Lineage(
        dataset_id="dat_1",
        dataset_name="spring",
        fingerprint="f",
        study_id="std_1",
        study_name="a study",
        trainer=Trainer.SEGUE,
        trial_id="trl_1",
        trial_number=3,
    )
    stored = {name: value for name, value in asdict(lineage).items() if name != "trainer"}
    read = tables.models.c.lineage.type.process_result_value(stored, sqlite.dialect())  # type: ignore[attr-defined]
    assert read.trainer is Trainer.GENSIM
