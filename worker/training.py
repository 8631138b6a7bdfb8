"""Who trains: the one place where a study's trainer becomes code."""

from app.domain.ports import EmbeddingTrainer
from app.domain.training import Trainer


def trainer_of(kind: Trainer) -> EmbeddingTrainer:
    """The trainer of that name. Raises: ValueError for a team's own, which is not here."""
    # Gensim takes long to import, and compiled code to load: only programs that train by them do.
    match kind:
        case Trainer.SEGUE:
            from app.adapters.lane_word2vec import LaneTrainer  # noqa: PLC0415

            return LaneTrainer()
        case Trainer.GENSIM:
            from app.adapters.gensim_word2vec import GensimTrainer  # noqa: PLC0415

            return GensimTrainer()
        case Trainer.EXTERNAL:
            msg = "What an external trainer trains is reported by its clients."
            raise ValueError(msg)
