"""Training Word2Vec on sessions: by whom, with which hyperparameters, and how far it has come.

Source of names and defaults: gensim's `Word2Vec`. Source of the ranges: the article (dim 10-200, window 1-40,
negatives 1-40, rate 0.001-0.1) and, for the extended ones, Caselles-Dupré et al. 2018.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest

LIMITS: dict[str, tuple[float, float]] = {
    "vector_size": (2, 1024),
    "window": (1, 100),
    "negative": (1, 100),
    "alpha": (1e-6, 1.0),
    "epochs": (1, 1000),
    "sg": (0, 1),
    "ns_exponent": (-2.0, 2.0),
    "sample": (0.0, 1.0),
}
"""The smallest and largest value that each number may have, inclusive."""


class Trainer(StrEnum):
    """Who trains. Both take the same hyperparameters, and mean the same by them."""

    SEGUE = "segue"
    """Segue's own trainer: compiled, an order of magnitude faster on a large catalogue, held to gensim's quality."""
    GENSIM = "gensim"
    """The reference: what the article used, so that a study runs to the article's letter."""
    EXTERNAL = "external"
    """A team's own, outside Segue: its clients ask for trials and report what they measured."""


DEFAULT_TRAINER = Trainer.SEGUE
"""Who trains where a study doesn't say."""


def fitted_by(trainer: Trainer) -> Trainer:
    """Who trains a model on the whole data, of a study with this trainer: Segue's own where that is a team's."""
    return DEFAULT_TRAINER if trainer is Trainer.EXTERNAL else trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingParameters:
    """One point of the search space. The defaults are gensim's own, but for `epochs` (the article's 3)."""

    vector_size: int = 100
    window: int = 5
    negative: int = 5
    alpha: float = 0.025
    epochs: int = 3
    sg: int = 0
    ns_exponent: float = 0.75
    sample: float = 1e-3
    scoring: Scoring = Scoring.INPUT

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidRequest(f"{name} must be between {low} and {high}, not {value}.", pointer=f"/{name}")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where training is: epochs ended, and the share of all plays of all epochs already read, in [0, 1]."""

    n_epochs_done: int
    fraction: float
