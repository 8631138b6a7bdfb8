"""Who trains: the one place where a study's trainer becomes code."""

from app.domain.ports import EmbeddingTrainer
from app.domain.training import Trainer


def trainer_of(kind: Trainer) -> EmbeddingTrainer:
    """The trainer of that name."""
    match kind:
        case Trainer.SEGUE | Trainer.GENSIM:  # until Segue has a trainer of its own
            # Gensim takes long to import: only children that train by it do.
            from app.adapters.gensim_word2vec import GensimTrainer  # noqa: PLC0415

            return GensimTrainer()
