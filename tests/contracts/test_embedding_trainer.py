"""What every `EmbeddingTrainer` promises, on the real one and on the fake."""

from dataclasses import replace

import numpy as np
import pytest

from app.adapters.gensim_word2vec import GensimTrainer
from app.adapters.lane_word2vec import LaneTrainer
from app.domain.embedding import Embeddings
from app.domain.errors import Infeasible
from app.domain.listening import Corpus
from app.domain.ports import EmbeddingTrainer
from app.domain.training import TrainingParameters, TrainingProgress
from tests import factories
from tests.fakes.embedding_trainer import RandomTrainer

pytestmark = pytest.mark.parametrize(
    "trainer", [GensimTrainer(), LaneTrainer(), RandomTrainer()], ids=["gensim", "lanes", "fake"]
)

PARAMETERS = TrainingParameters(vector_size=4, epochs=3, sg=1, sample=0.0)


def listening() -> Corpus:
    """Songs 0 to 4 are trained on; 5 and 6 are only ever held out; 7 is never played."""
    return factories.corpus(sessions=[[0, 1, 2, 5, 6], [1, 3, 4, 5, 1], [4, 0, 2, 6]], n_songs=8)


class Watcher:
    def __init__(self) -> None:
        self.progress: list[TrainingProgress] = []
        self.epochs: list[int] = []
        self.last: Embeddings | None = None

    def on_progress(self, progress: TrainingProgress) -> None:
        self.progress.append(progress)

    def on_epoch(self, epoch: int, embeddings: Embeddings) -> None:
        self.epochs.append(epoch)
        self.last = Embeddings(embeddings.input.copy(), embeddings.output.copy(), embeddings.is_known.copy())


def trained(
    trainer: EmbeddingTrainer, corpus: Corpus, *, seed: int = 1, held_out: bool = True, watcher: Watcher | None = None
) -> Embeddings:
    watcher = watcher or Watcher()
    return trainer.train(
        corpus,
        PARAMETERS,
        seed=seed,
        threads=1,
        held_out=held_out,
        on_progress=watcher.on_progress,
        on_epoch=watcher.on_epoch,
    )


def test_songs_that_training_never_sees_are_zero_and_not_known(trainer: EmbeddingTrainer) -> None:
    embeddings = trained(trainer, listening())
    assert embeddings.is_known.tolist() == [True] * 5 + [False] * 3
    for matrix in (embeddings.input, embeddings.output):
        assert matrix.shape == (8, 4)
        assert matrix.dtype == np.float32
        assert not matrix[5:].any()
        assert matrix[:5].any(axis=1).all()


def test_a_fit_on_everything_knows_every_song_that_is_played(trainer: EmbeddingTrainer) -> None:
    assert trained(trainer, listening(), held_out=False).is_known.tolist() == [True] * 7 + [False]


def test_each_epoch_is_shown_and_the_last_one_is_the_result(trainer: EmbeddingTrainer) -> None:
    watcher = Watcher()
    embeddings = trained(trainer, listening(), watcher=watcher)
    assert watcher.epochs == [1, 2, 3]
    assert watcher.last is not None
    assert np.array_equal(watcher.last.input, embeddings.input)
    assert np.array_equal(watcher.last.output, embeddings.output)


def test_progress_rises_to_the_end(trainer: EmbeddingTrainer) -> None:
    watcher = Watcher()
    trained(trainer, listening(), watcher=watcher)
    fractions = [progress.fraction for progress in watcher.progress]
    assert fractions == sorted(fractions)
    assert watcher.progress[-1] == TrainingProgress(3, 1.0)


def test_a_seed_determines_the_vectors(trainer: EmbeddingTrainer) -> None:
    first, again, other = (trained(trainer, listening(), seed=seed) for seed in (7, 7, 8))
    assert first.input.tobytes() == again.input.tobytes()
    assert first.output.tobytes() == again.output.tobytes()
    assert first.input.tobytes() != other.input.tobytes()


@pytest.mark.parametrize("sessions", [[], [[0, 1, 2]], [[0, 1, 2], [2, 1, 0]]], ids=["none", "one", "short"])
def test_nothing_to_learn_from_is_infeasible(trainer: EmbeddingTrainer, sessions: list[list[int]]) -> None:
    corpus = factories.corpus(sessions=sessions, n_songs=3)
    with pytest.raises(Infeasible, match="two songs"):
        trained(trainer, corpus)


def test_the_corpus_is_not_written_to(trainer: EmbeddingTrainer) -> None:
    corpus = listening()
    plays = corpus.plays.copy()
    plays.flags.writeable = False
    trained(trainer, replace(corpus, plays=plays))
    assert np.array_equal(plays, corpus.plays)


@pytest.mark.parametrize("held_out", [True, False])
def test_in_a_scope_the_segments_sessions_alone_are_trained_on(trainer: EmbeddingTrainer, *, held_out: bool) -> None:
    rng = np.random.default_rng(4)
    sessions = [rng.integers(0, 9, 8).tolist() for _ in range(20)]
    of_session = rng.integers(0, 2, 20).tolist()
    whole = factories.corpus(sessions=sessions, n_songs=11, segments=("ar", "en"), session_segments=of_session)
    chosen = [one for one, number in zip(sessions, of_session, strict=True) if number]
    alone = factories.corpus(sessions=chosen, n_songs=11)
    found, expected = (trained(trainer, corpus, held_out=held_out) for corpus in (whole.scoped("en"), alone))
    assert np.array_equal(found.is_known, expected.is_known)
    assert np.array_equal(found.input, expected.input)
    assert np.array_equal(found.output, expected.output)
