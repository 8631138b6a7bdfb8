from typing import Any

import pytest

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import DEFAULT_TRAINER, LIMITS, Trainer, TrainingParameters, fitted_by


def test_defaults_are_gensims_but_for_the_articles_three_epochs() -> None:
    assert TrainingParameters() == TrainingParameters(
        vector_size=100,
        window=5,
        negative=5,
        alpha=0.025,
        epochs=3,
        sg=0,
        ns_exponent=0.75,
        sample=1e-3,
        scoring=Scoring.INPUT,
    )


@pytest.mark.parametrize("name", LIMITS)
def test_limits_themselves_are_allowed(name: str) -> None:
    for limit in LIMITS[name]:
        changes: dict[str, Any] = {name: limit}
        assert getattr(TrainingParameters(**changes), name) == limit


@pytest.mark.parametrize("name", LIMITS)
def test_numbers_beyond_their_limits_are_refused_by_name(name: str) -> None:
    low, high = LIMITS[name]
    for wrong in (low - 1, high + 1, float("nan"), float("inf")):
        changes: dict[str, Any] = {name: wrong}
        with pytest.raises(InvalidRequest, match=name) as refused:
            TrainingParameters(**changes)
        assert refused.value.pointer == f"/{name}"


def test_a_model_is_fitted_by_the_studys_trainer_or_by_segues_where_that_is_not_here() -> None:
    assert {trainer: fitted_by(trainer) for trainer in Trainer} == {
        Trainer.SEGUE: Trainer.SEGUE,
        Trainer.GENSIM: Trainer.GENSIM,
        Trainer.EXTERNAL: DEFAULT_TRAINER,
    }
