"""A trainer that learns nothing: seeded random vectors. The fake of the port `EmbeddingTrainer`."""

from collections.abc import Callable

import numpy as np

from app.domain.embedding import Embeddings
from app.domain.errors import Infeasible
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters, TrainingProgress


class RandomTrainer:
    """Vectors depend on the seed and the epoch alone."""

    def train(
        self,
        corpus: Corpus,
        parameters: TrainingParameters,
        *,
        seed: int,
        threads: int,
        held_out: bool,
        on_progress: Callable[[TrainingProgress], None],
        on_epoch: Callable[[int, Embeddings], None],
    ) -> Embeddings:
        if max(map(len, corpus.training_sessions(held_out=held_out)), default=0) < 2:
            msg = "No session has two songs that training may see."
            raise Infeasible(msg)
        is_known = corpus.training_counts(held_out=held_out) > 0
        rng = np.random.default_rng(seed)
        shape = (corpus.n_songs, parameters.vector_size)
        for epoch in range(1, parameters.epochs + 1):
            vectors = rng.normal(size=(2, *shape)).astype(np.float32) * is_known[:, np.newaxis]
            embeddings = Embeddings(vectors[0], vectors[1], is_known)
            on_progress(TrainingProgress(epoch, epoch / parameters.epochs))
            on_epoch(epoch, embeddings)
        return embeddings
