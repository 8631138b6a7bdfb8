"""The trainer at the corners of the space, beside gensim, and how much memory it takes."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from app.adapters.exact_search import ExactNeighbourSearch
from app.adapters.gensim_word2vec import GensimTrainer
from app.adapters.lane_word2vec import LaneTrainer, load_kernel
from app.domain.embedding import Embeddings, scoring_rows
from app.domain.evaluating import evaluate
from app.domain.listening import Corpus
from app.domain.ports import EmbeddingTrainer
from app.domain.training import TrainingParameters
from tests.adapters.test_gensim_word2vec import nothing
from tests.benchmarks.generated import generated_corpus
from tests.factories import corpus

LARGEST = 1e5
"""No number of a vector that stays bounded comes near it: 832 at most was seen."""


def trained(trainer: EmbeddingTrainer, listened: Corpus, parameters: TrainingParameters) -> Embeddings:
    return trainer.train(listened, parameters, seed=1, threads=1, held_out=True, on_progress=nothing, on_epoch=nothing)


def sessions(kind: str) -> Corpus:
    rng = np.random.default_rng(0)
    held_out = [0, 0]
    match kind:
        case "few":
            played = [rng.integers(0, 30, length).tolist() for length in rng.integers(2, 9, 24)]
        case "two_songs":
            played = rng.integers(0, 30, (40, 2)).tolist()
        case "one_song_in_all":
            played = [[0, *songs] for songs in rng.integers(1, 30, (24, 5)).tolist()]
        case _:
            played = [[0] * 8] * 10
    return corpus(sessions=[[*songs, *held_out] for songs in played])


@pytest.mark.parametrize("kind", ["few", "two_songs", "one_song_in_all", "one_song"])
@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
@pytest.mark.parametrize(
    "corner",
    [
        TrainingParameters(negative=40, vector_size=200, ns_exponent=-1.0, sample=0.0),
        TrainingParameters(negative=100, vector_size=2, ns_exponent=1.0, sample=1.0),
        TrainingParameters(negative=100, vector_size=16, ns_exponent=0.0, sample=1e-6),
    ],
    ids=["article", "two_dimensions", "subsampled"],
)
def test_vectors_stay_bounded_at_the_corners(kind: str, sg: int, alpha: float, corner: TrainingParameters) -> None:
    parameters = replace(corner, window=40, alpha=alpha, epochs=100, sg=sg)
    embeddings = trained(LaneTrainer(), sessions(kind), parameters)
    assert np.abs(embeddings.input).max() < LARGEST
    assert np.abs(embeddings.output).max() < LARGEST


@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_vectors_of_a_long_session_stay_bounded(sg: int, alpha: float) -> None:
    songs = np.random.default_rng(0).integers(0, 50, 10_002).tolist()
    corner = TrainingParameters(vector_size=16, window=10, negative=40, alpha=alpha, epochs=1, sg=sg)
    embeddings = trained(LaneTrainer(), corpus(sessions=[songs]), corner)
    assert np.abs(embeddings.input).max() < LARGEST
    assert np.abs(embeddings.output).max() < LARGEST


POINT = TrainingParameters(vector_size=32, epochs=4)


@pytest.mark.parametrize(
    "parameters",
    [
        replace(POINT, sg=1),
        replace(POINT, sg=0, epochs=6, alpha=0.1, window=4),
        replace(POINT, sg=1, negative=15, alpha=0.06, window=3, epochs=3, ns_exponent=-0.5),
        replace(POINT, sg=0, negative=10, alpha=0.05, sample=0.0),
    ],
    ids=["skip_gram", "cbow", "five_lanes", "weighted"],
)
def test_hit_ratio_is_gensims_within_a_tenth(parameters: TrainingParameters) -> None:
    listened = generated_corpus(n_songs=2_000, n_plays=60_000)
    ours, theirs = (hit_ratio(trainer, listened, parameters) for trainer in (LaneTrainer(), GensimTrainer()))
    assert theirs > 0.2
    assert ours == pytest.approx(theirs, rel=0.1)


def hit_ratio(trainer: EmbeddingTrainer, listened: Corpus, parameters: TrainingParameters) -> float:
    embeddings = trained(trainer, listened, parameters)
    measured = evaluate(
        scoring_rows(embeddings, parameters.scoring),
        listened.validation,
        search=ExactNeighbourSearch(),
        k=10,
        hr_weight=0.5,
        repeats=listened.split.repeats,
        segments=listened.segments,
        training_counts=listened.training_counts(held_out=True),
    )
    assert measured.overall.hit_ratio is not None
    return measured.overall.hit_ratio.value


def test_training_holds_little_more_than_its_two_matrices() -> None:
    n_songs, dim = 200_000, 64
    every_song = corpus(sessions=np.random.default_rng(0).permutation(n_songs).reshape(-1, 10).tolist())
    parameters = TrainingParameters(vector_size=dim, epochs=1, window=2, negative=2, sg=0)
    load_kernel()  # what the compiler holds is no part of it
    tracemalloc.start()
    try:
        embeddings = trained(LaneTrainer(), every_song, parameters)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 1.3 * (embeddings.input.nbytes + embeddings.output.nbytes)
