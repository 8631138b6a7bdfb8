import hashlib
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import Word2Vec

from app.adapters import gensim_word2vec
from app.adapters.gensim_word2vec import GensimTrainer
from app.domain.embedding import Embeddings
from app.domain.errors import Infeasible
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters, TrainingProgress
from tests.factories import corpus

PARAMETERS = TrainingParameters(vector_size=8, window=3, epochs=2, sg=1, sample=0.0)


def nothing(*_: object) -> None:
    """A caller that listens to nothing."""


def trained(
    listened: Corpus,
    parameters: TrainingParameters = PARAMETERS,
    *,
    seed: int = 5,
    threads: int = 1,
    on_progress: Callable[[TrainingProgress], None] = nothing,
    on_epoch: Callable[[int, Embeddings], None] = nothing,
    report_every_s: float = 0.0,
) -> Embeddings:
    return GensimTrainer(report_every_s=report_every_s).train(
        listened,
        parameters,
        seed=seed,
        threads=threads,
        held_out=True,
        on_progress=on_progress,
        on_epoch=on_epoch,
    )


def falling_counts(n_known: int, *, seed: int = 0) -> Corpus:
    """Training sees odd songs alone, each one time less than the one before, so that its order of songs is gensim's.

    Even songs are held out at the sessions' ends: they lie between the others in the vocabulary. Sessions have one
    to nine songs to train on.
    """
    plays = np.repeat(1 + 2 * np.arange(n_known), np.arange(n_known, 0, -1))
    rng = np.random.default_rng(seed)
    rng.shuffle(plays)
    cuts = np.cumsum(rng.integers(1, 10, len(plays)))
    sessions = [part.tolist() for part in np.split(plays, cuts[cuts < len(plays)])]
    return corpus(sessions=[[*session, 2 * (i % n_known), 0] for i, session in enumerate(sessions)])


@pytest.mark.parametrize(
    "parameters",
    [
        replace(PARAMETERS, sample=1e-2),
        replace(PARAMETERS, sg=0, alpha=0.1, window=40, negative=2),
        replace(PARAMETERS, ns_exponent=-0.5, vector_size=11, epochs=3),
        replace(PARAMETERS, ns_exponent=0.0, epochs=1),
    ],
    ids=["sampled", "cbow", "negative_exponent", "one_epoch"],
)
def test_vectors_are_those_of_gensim_trained_the_ordinary_way(parameters: TrainingParameters) -> None:
    listened = falling_counts(60)
    ordinary = Word2Vec(
        [[str(song) for song in session] for session in listened.training_sessions()],
        vector_size=parameters.vector_size,
        window=parameters.window,
        negative=parameters.negative,
        alpha=parameters.alpha,
        epochs=parameters.epochs,
        sg=parameters.sg,
        ns_exponent=parameters.ns_exponent,
        sample=parameters.sample,
        min_count=1,
        seed=5,
        workers=1,
    )
    embeddings = trained(listened, parameters)
    songs = [int(token) for token in ordinary.wv.index_to_key]
    assert songs == list(range(1, 120, 2))
    assert np.flatnonzero(embeddings.is_known).tolist() == songs
    assert np.array_equal(embeddings.input[songs], ordinary.wv.vectors)
    assert np.array_equal(embeddings.output[songs], ordinary.syn1neg)
    assert ordinary.syn1neg.any()


@pytest.mark.parametrize("sample", [0.0, 1e-5, 1e-3, 0.5])
@pytest.mark.parametrize("ns_exponent", [-1.0, -0.3, 0.0, 0.75, 1.0])
def test_vocabulary_is_the_one_that_gensim_builds(sample: float, ns_exponent: float) -> None:
    counts = np.random.default_rng(2).zipf(1.4, 5_000).clip(1, 200_000)
    settings: dict[str, Any] = {"vector_size": 4, "min_count": 1, "sample": sample, "ns_exponent": ns_exponent}
    theirs, ours = Word2Vec(**settings, sorted_vocab=0), gensim_word2vec._Word2Vec(**settings)
    theirs.build_vocab_from_freq(dict(enumerate(counts.tolist())))
    ours.take_vocabulary(counts)
    assert np.array_equal(ours.cum_table, theirs.cum_table)
    assert ours.cum_table.dtype == theirs.cum_table.dtype
    assert ours.wv.key_to_index == theirs.wv.key_to_index
    assert ours.wv.index_to_key == theirs.wv.index_to_key
    assert ours.wv.expandos.keys() == theirs.wv.expandos.keys()
    for name, values in theirs.wv.expandos.items():
        assert np.array_equal(ours.wv.expandos[name], values)
        assert ours.wv.expandos[name].dtype == values.dtype
    assert np.array_equal(ours.wv.vectors, theirs.wv.vectors)


PROGRAM = """
import hashlib
from tests.adapters.test_gensim_word2vec import falling_counts, trained
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


def test_small_reads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = trained(falling_counts(30))
    monkeypatch.setattr(gensim_word2vec, "PLAYS_PER_READ", 13)
    assert np.array_equal(trained(falling_counts(30)).input, at_once.input)


@pytest.mark.parametrize("length", [10_000, 10_001, 25_000])
def test_nothing_of_a_long_session_is_forgotten(length: int) -> None:
    """Song 0 all along, and at the very end songs 1 and 2, each other's only company but for song 0."""
    short = [3, 4, 9, 9]
    session = [0] * (length - 2) + [1, 2]
    embeddings = trained(corpus(sessions=[short, [*session, 9, 9], short]))
    pieces = [session[start : start + 10_000] for start in range(0, length, 10_000)]
    cut = trained(corpus(sessions=[short, *([*piece, 9, 9] for piece in pieces), short]))
    assert np.array_equal(embeddings.input, cut.input)
    untrained = trained(corpus(sessions=[short, [*session[:-2], 9, 9], [1, 9, 9], [2, 9, 9], short]))
    assert not np.array_equal(embeddings.input[1], untrained.input[1])


def test_progress_is_told_inside_epochs() -> None:
    told: list[TrainingProgress] = []
    n_plays = len(falling_counts(40).plays)
    trained(falling_counts(40), on_progress=told.append)
    assert [one.fraction for one in told] == sorted(one.fraction for one in told)
    for n_epochs_done in (0, 1):
        inside = [one for one in told if n_epochs_done / 2 < one.fraction < (n_epochs_done + 1) / 2]
        assert len(inside) > 3
        assert {one.n_epochs_done for one in inside} == {n_epochs_done}
    assert len(told) < 2 * n_plays
    assert told[-1] == TrainingProgress(2, 1.0)


def test_progress_between_two_reports_is_not_told() -> None:
    told: list[TrainingProgress] = []
    trained(falling_counts(40), on_progress=told.append, report_every_s=1e6)
    assert told == [TrainingProgress(1, 0.5), TrainingProgress(2, 1.0)]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 2])
def test_what_progress_raises_inside_an_epoch_ends_the_training(threads: int) -> None:
    def stop(_: TrainingProgress) -> None:
        raise Stopped

    epochs: list[int] = []
    with pytest.raises(Stopped):
        trained(falling_counts(40), threads=threads, on_progress=stop, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == []


def test_what_an_epochs_end_raises_ends_the_training() -> None:
    def stop(*_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        trained(falling_counts(40), on_epoch=stop)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_training_thread_that_dies_ends_the_training(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    def exhausted(*_: object) -> tuple[int, int]:
        raise MemoryError

    monkeypatch.setattr(Word2Vec, "_do_train_job", exhausted)
    monkeypatch.setattr(gensim_word2vec, "LONGEST_SESSION", 100)
    with pytest.raises(MemoryError):
        trained(corpus(sessions=[[0, 1] * 50_000]), threads=threads)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("matrix", ["input", "output"])
def test_vectors_that_diverge_are_infeasible_at_the_end_of_their_epoch(
    monkeypatch: pytest.MonkeyPatch, matrix: str, value: float
) -> None:
    def diverged(model: Any, *_: object) -> tuple[int, int]:  # noqa: ANN401
        if epochs:
            (model.wv.vectors if matrix == "input" else model.syn1neg)[3] = value
        return 1, 1

    epochs: list[int] = []
    monkeypatch.setattr(Word2Vec, "_do_train_job", diverged)
    with pytest.raises(Infeasible, match="after epoch 2"):
        trained(falling_counts(10), on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == [1]


@pytest.mark.parametrize(
    ("alpha", "lowest", "highest"), [(1e-6, 1e-6, 1e-6), (1e-4, 1e-4, 1e-4), (0.1, 1e-4, 0.1)], ids=str
)
def test_learning_rate_falls_to_gensims_smallest_and_never_rises_to_it(
    monkeypatch: pytest.MonkeyPatch, alpha: float, lowest: float, highest: float
) -> None:
    rates: list[float] = []

    def note_rate(_: object, sentences: list[list[int]], rate: float, __: object) -> tuple[int, int]:
        rates.append(rate)
        return 0, sum(map(len, sentences))

    monkeypatch.setattr(Word2Vec, "_do_train_job", note_rate)
    trained(corpus(sessions=[[0, 1] * 100 + [2, 2]] * 400), replace(PARAMETERS, alpha=alpha, epochs=4))
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == highest
    assert lowest <= rates[-1] < lowest + highest / 4 + 1e-12


def test_a_sample_of_one_is_a_share_and_leaves_all_plays_in() -> None:
    all_plays, all_of_them = (trained(falling_counts(30), replace(PARAMETERS, sample=sample)) for sample in (0.0, 1.0))
    assert np.array_equal(all_plays.input, all_of_them.input)


def test_gensim_is_quiet_while_it_trains_and_its_log_is_given_back(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("gensim")
    before = log.level
    with caplog.at_level(logging.DEBUG):
        trained(falling_counts(20))
    assert not [entry for entry in caplog.records if entry.name.startswith("gensim")]
    assert log.level == before


def test_two_threads_learn_the_same_songs() -> None:
    embeddings = trained(falling_counts(40), threads=2)
    assert np.flatnonzero(embeddings.is_known).tolist() == list(range(1, 80, 2))
    assert np.isfinite(embeddings.input).all()
    assert embeddings.output[1::2].any(axis=1).all()
