import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gensim.models import Word2Vec

from app.adapters import gensim_word2vec
from app.adapters.lane_word2vec import LaneTrainer, _initial, _is_finite, _kept, training_pieces
from app.adapters.vectors import vectors_sha256
from app.domain.embedding import Embeddings
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters, TrainingProgress
from tests.adapters.test_gensim_word2vec import Stopped, falling_counts, nothing
from tests.benchmarks.generated import generated_corpus
from tests.factories import corpus

PARAMETERS = TrainingParameters(vector_size=8, window=3, epochs=2, sg=1, sample=0.0)


def trained(
    listened: Corpus,
    parameters: TrainingParameters = PARAMETERS,
    *,
    seed: int = 5,
    threads: int = 1,
    on_progress: Callable[[TrainingProgress], None] = nothing,
    on_epoch: Callable[[int, Embeddings], None] = nothing,
    report_every_s: float = 0.25,
) -> Embeddings:
    return LaneTrainer(report_every_s=report_every_s).train(
        listened,
        parameters,
        seed=seed,
        threads=threads,
        held_out=True,
        on_progress=on_progress,
        on_epoch=on_epoch,
    )


@pytest.mark.parametrize(("n_known", "dim"), [(1, 5), (300, 16), (66_000, 3)])
def test_initial_vectors_are_gensims_for_the_same_seed(n_known: int, dim: int) -> None:
    theirs = Word2Vec(vector_size=dim, min_count=1, sorted_vocab=0, seed=7)
    theirs.build_vocab_from_freq(dict.fromkeys(range(n_known), 3))
    is_known = np.tile([False, True, False], n_known)
    ours = _initial(is_known, dim=dim, seed=7)
    assert np.array_equal(ours.input[is_known], theirs.wv.vectors)
    assert not ours.input[~is_known].any()
    assert not ours.output.any()


@pytest.mark.parametrize("sample", [0.0, 1e-6, 1e-3, 0.5])
def test_shares_kept_are_gensims(sample: float) -> None:
    counts = np.random.default_rng(2).zipf(1.4, 5_000).clip(1, 200_000)
    theirs = gensim_word2vec._Word2Vec(vector_size=2, min_count=1, sample=sample)
    theirs.take_vocabulary(counts)
    expected = theirs.wv.expandos["sample_int"] / 2**32
    np.testing.assert_allclose(_kept(counts, sample), expected, rtol=1e-6)


def test_a_sample_of_one_is_a_share_and_leaves_all_plays_in() -> None:
    all_plays, all_of_them = (trained(falling_counts(30), replace(PARAMETERS, sample=sample)) for sample in (0.0, 1.0))
    assert np.array_equal(all_plays.input, all_of_them.input)


def test_a_long_session_is_cut_as_for_gensim() -> None:
    listened = corpus(sessions=[[1, 2, 9, 9], [0] * 25_002, [9, 9], [3, 9, 9], [4] * 10_003])
    starts, ends = training_pieces(listened, held_out=True)
    assert (ends - starts).tolist() == [2, 10_000, 10_000, 5_000, 1, 10_000, 1]
    theirs = gensim_word2vec._Sessions(listened, held_out=True)
    assert np.array_equal(starts, theirs._starts)
    assert np.array_equal(ends, theirs._ends)


def test_equal_seeds_have_equal_fingerprints() -> None:
    first, again, other = (vectors_sha256(trained(falling_counts(30), seed=seed)) for seed in (7, 7, 8))
    assert first == again != other


PROGRAM = """
import hashlib
from tests.adapters.test_lane_word2vec import falling_counts, trained
embeddings = trained(falling_counts(30))
print(hashlib.sha256(embeddings.input.tobytes() + embeddings.output.tobytes()).hexdigest())
"""


def test_another_operating_system_process_gives_the_same_bytes() -> None:
    embeddings = trained(falling_counts(30))
    expected = hashlib.sha256(embeddings.input.tobytes() + embeddings.output.tobytes()).hexdigest()
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert printed.stdout.strip() == expected


@pytest.mark.parametrize("threads", [2, 3])
def test_more_threads_learn_the_same_songs(threads: int) -> None:
    embeddings = trained(falling_counts(40), threads=threads)
    assert np.flatnonzero(embeddings.is_known).tolist() == list(range(1, 80, 2))
    assert np.isfinite(embeddings.input).all()
    assert embeddings.output[1::2].any(axis=1).all()


@pytest.mark.parametrize("sessions", [[[0, 1, 9, 9]], [[0, 1, 9, 9], [2, 3, 4, 9, 9]]], ids=["one", "two"])
def test_threads_may_be_more_than_sessions(sessions: list[list[int]]) -> None:
    embeddings = trained(corpus(sessions=sessions), threads=5)
    assert embeddings.output[embeddings.is_known].any(axis=1).all()


def test_progress_is_told_inside_epochs_and_rises() -> None:
    told: list[TrainingProgress] = []
    listened = generated_corpus(n_songs=500, n_plays=20_000)
    trained(listened, replace(PARAMETERS, vector_size=64, negative=20), on_progress=told.append, report_every_s=1e-4)
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    for n_epochs_done in (0, 1):
        inside = [one for one in told if n_epochs_done / 2 < one.fraction < (n_epochs_done + 1) / 2]
        assert len(inside) > 3
        assert {one.n_epochs_done for one in inside} == {n_epochs_done}
    assert told[-1] == TrainingProgress(2, 1.0)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_progress_raises_inside_an_epoch_ends_the_training_at_once(threads: int) -> None:
    """An epoch of this one would take minutes."""

    def stop(progress: TrainingProgress) -> None:
        told.append(progress.fraction)
        raise Stopped

    told: list[float] = []
    epochs: list[int] = []
    endless = replace(PARAMETERS, vector_size=1_000, window=100, negative=100, epochs=1_000)
    with pytest.raises(Stopped):
        trained(
            corpus(sessions=[list(range(1_000)) * 10] * 20),
            endless,
            threads=threads,
            on_progress=stop,
            on_epoch=lambda epoch, _: epochs.append(epoch),
            report_every_s=0.01,
        )
    assert epochs == []
    assert len(told) == 1
    assert told[0] < 1e-3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("training")]


def test_what_an_epochs_end_raises_ends_the_training() -> None:
    def stop(*_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        trained(falling_counts(40), on_epoch=stop)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("row", [0, 8_191, 8_192, 69_999])
def test_rows_whose_length_no_float_holds_are_not_finite(value: float, row: int) -> None:
    vectors = np.ones((70_000, 2), np.float32)
    assert _is_finite(vectors)
    vectors[row, 1] = value
    assert not _is_finite(vectors)


def test_learning_rate_never_rises_to_the_smallest_of_gensim() -> None:
    """Far below it, output vectors grow from zero in proportion to the rate."""
    slow, twice = (trained(falling_counts(20), replace(PARAMETERS, alpha=alpha)).output for alpha in (1e-6, 2e-6))
    assert slow.any()
    np.testing.assert_allclose(twice, 2 * slow, rtol=0.01, atol=1e-3 * np.abs(slow).max())


def test_a_whole_number_is_an_exponent_like_any_other() -> None:
    whole, same = (trained(falling_counts(20), replace(PARAMETERS, ns_exponent=exponent)) for exponent in (-1, -1.0))
    assert np.array_equal(whole.input, same.input)
