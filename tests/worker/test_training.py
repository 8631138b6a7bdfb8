"""Trainers by name, and what they cost those who don't ask for them."""

import subprocess
import sys

import pytest

from app.domain.training import Trainer
from tests.conftest import ROOT
from worker.training import trainer_of


@pytest.mark.parametrize("kind", [Trainer.SEGUE, Trainer.GENSIM])
def test_every_trainer_of_ours_has_its_code(kind: Trainer) -> None:
    assert callable(trainer_of(kind).train)


def test_a_teams_own_trainer_is_not_here() -> None:
    with pytest.raises(ValueError, match="reported by its clients"):
        trainer_of(Trainer.EXTERNAL)


def test_gensim_is_imported_for_those_who_train_by_it_alone() -> None:
    program = "import sys, worker.training; assert 'gensim' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
