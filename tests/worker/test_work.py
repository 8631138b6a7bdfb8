"""What children do, here in the test's own process: datasets, trials and models, on the listening that is shipped."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from app.adapters.corpus import read_corpus, read_songs
from app.adapters.exact_search import ExactNeighbourSearch
from app.adapters.model_files import load_model, read_model
from app.adapters.ranks import PairSet, read_ranks
from app.adapters.table_files import take_table
from app.adapters.vectors import read_vectors, vectors_sha256
from app.domain.datasets import Dataset, DatasetSpec, DatasetState, SourceReference
from app.domain.embedding import Embeddings, Scoring, scoring_rows
from app.domain.errors import DamagedArtifact, Infeasible, InvalidSource
from app.domain.evaluating import evaluate
from app.domain.lease import HeartbeatAnswer, Progress
from app.domain.listening import Preparation
from app.domain.measurement import EpochMeasurement, Measurement
from app.domain.models import Fit, IndexLimits, Lineage, Model, ModelMetrics, ModelState
from app.domain.pairing import pair_values
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.objectives import Aggregate
from app.domain.tuning.study import Objective
from app.domain.tuning.trial import Method, TrialRole
from tests.values import OWN_TRAINERS, measurement
from worker import trial_run
from worker.environment import child_environment
from worker.messages import (
    DatasetPrepared,
    DatasetRequest,
    Ended,
    Failed,
    Limits,
    ModelBuilt,
    ModelRequest,
    Request,
    Result,
    Sources,
    TableBuilt,
    TableRequest,
    TrialMeasured,
    TrialRequest,
    message_line,
    read_message,
    read_request,
    request_line,
)
from worker.runner import Runner, RunnerGone
from worker.training import trainer_of
from worker.trial_run import Stopwatch, measured_epochs
from worker.work import perform

SHIPPED = Path(__file__).parents[2] / "app" / "demo" / "data" / "lastfm_three"
LIMITS = Limits(threads=1)
SOURCES = Sources(plays=SHIPPED / "plays.parquet", songs=SHIPPED / "songs.parquet", memory_limit="1GB")
QUICK = TrainingParameters(vector_size=8, window=2, negative=2, epochs=2, sg=1)


def done(request: Request) -> Result:
    """The result, as it is after request and result have crossed the pipes."""
    told: list[Progress] = []
    result = perform(read_request(request_line(request)), told.append)
    assert told
    assert all(0 <= progress.fraction <= 1 for progress in told)
    read = read_message(message_line(result))
    assert read == result
    return result


def dataset(*, sample_fraction: float = 1.0) -> Dataset:
    spec = DatasetSpec(
        name="shipped",
        plays=SourceReference(source="plays"),
        songs=SourceReference(source="songs"),
        preparation=Preparation(sample_fraction=sample_fraction),
    )
    return Dataset(id="dat_1", spec=spec, state=DatasetState.PREPARING, created_at=datetime(2026, 1, 1, tzinfo=UTC))


def compiled(folder: Path, *, sample_fraction: float) -> DatasetPrepared:
    result = done(
        DatasetRequest(limits=LIMITS, staged=folder, dataset=dataset(sample_fraction=sample_fraction), sources=SOURCES)
    )
    assert isinstance(result, DatasetPrepared)
    return result


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth of the shipped listening, compiled."""
    folder = tmp_path_factory.mktemp("sample")
    compiled(folder, sample_fraction=0.1)
    return folder


def trial_request(
    corpus: Path,
    staged: Path,
    *,
    role: TrialRole = TrialRole.SEARCH,
    method: Method = Method.WORD2VEC,
    parameters: TrainingParameters | None = QUICK,
    vectors: Path | None = None,
) -> TrialRequest:
    return TrialRequest(
        limits=LIMITS,
        staged=staged,
        corpus=corpus,
        role=role,
        method=method,
        parameters=parameters,
        trainer=Trainer.GENSIM,
        objective=Objective(),
        seed=7,
        vectors=vectors,
    )


def measured(request: TrialRequest) -> TrialMeasured:
    result = done(request)
    assert isinstance(result, TrialMeasured)
    return result


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made


# Datasets


def test_a_dataset_is_compiled_with_its_statistics(tmp_path: Path) -> None:
    prepared = compiled(tmp_path, sample_fraction=0.1)
    corpus = read_corpus(tmp_path)
    assert prepared.statistics.overall.sessions == corpus.n_sessions
    assert prepared.fingerprint


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plays").write_bytes(b"neither Parquet nor CSV \x00")
    sources = replace(SOURCES, plays=tmp_path / "plays")
    request = DatasetRequest(limits=LIMITS, staged=folder(tmp_path, "staged"), dataset=dataset(), sources=sources)
    with pytest.raises(InvalidSource):
        perform(request, lambda _: None)


# Trials


def test_a_trial_of_the_search_keeps_its_vectors_and_measures_them_on_the_validation_pairs(
    sample: Path, tmp_path: Path
) -> None:
    trial = measured(trial_request(sample, tmp_path))
    corpus = read_corpus(sample)
    vectors = read_vectors(tmp_path)
    again = evaluate(
        scoring_rows(vectors, Scoring.INPUT),
        corpus.validation,
        search=ExactNeighbourSearch(),
        k=10,
        hr_weight=0.5,
        repeats=corpus.split.repeats,
        segments=corpus.segments,
        training_counts=corpus.training_counts(),
        artists=corpus.artists,
    )
    assert trial.has_vectors
    assert trial.outcome.validation == again
    assert trial.outcome.test is None
    assert trial.outcome.vectors_sha256 == vectors_sha256(vectors)


def test_a_trial_tells_its_epochs_and_where_its_time_went(sample: Path, tmp_path: Path) -> None:
    outcome = measured(trial_request(sample, tmp_path)).outcome
    assert [each.epoch for each in outcome.epochs] == [1, 2]
    assert 0 < outcome.epochs[0].train_s < outcome.epochs[1].train_s <= outcome.times_s["train"]
    assert outcome.validation is not None
    assert outcome.epochs[-1].scores == outcome.validation.overall
    assert set(outcome.times_s) == {"load", "train", "evaluate", "write"}


def test_epochs_before_the_last_are_measured_on_some_of_the_pairs(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_run, "MOST_PAIRS_MEASURED", 7)
    outcome = measured(trial_request(sample, tmp_path)).outcome
    assert outcome.validation is not None
    *before, last = (epoch.scores.n_pairs for epoch in outcome.epochs)
    assert set(before) == {7}
    assert last == outcome.validation.overall.n_pairs > 7


def test_the_same_trial_gives_the_same_vectors(sample: Path, tmp_path: Path) -> None:
    first, second = (measured(trial_request(sample, folder(tmp_path, name))) for name in ("a", "b"))
    assert first.outcome.vectors_sha256 == second.outcome.vectors_sha256


def test_a_trained_baseline_is_measured_on_both_sets_of_pairs_and_keeps_no_vectors(
    sample: Path, tmp_path: Path
) -> None:
    baseline = measured(trial_request(sample, tmp_path, role=TrialRole.BASELINE))
    assert baseline.outcome.validation is not None
    assert baseline.outcome.test is not None
    assert not baseline.has_vectors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trainer", OWN_TRAINERS)
def test_a_trial_that_is_told_to_end_tells_the_epochs_it_ran_and_keeps_no_vectors(
    sample: Path, tmp_path: Path, trainer: Trainer
) -> None:
    asked: list[tuple[int, bool]] = []

    def show(measurement: EpochMeasurement, /, *, decides: bool) -> HeartbeatAnswer:
        asked.append((measurement.epoch, decides))
        return HeartbeatAnswer.PRUNE if decides else HeartbeatAnswer.CONTINUE

    request = trial_request(sample, tmp_path, parameters=replace(QUICK, epochs=25))
    request = replace(request, trainer=trainer, decides_after=(3, 6), ranks=tmp_path)
    result = perform(request, lambda _: None, show)
    assert isinstance(result, TrialMeasured)
    assert asked == [(2, False), (3, True)]  # the usual second of 25, and the third, at which the rule looks
    assert result.was_pruned
    assert not result.has_vectors
    assert not result.outcome.has_ranks  # they would be of some of the pairs
    assert [epoch.epoch for epoch in result.outcome.epochs] == [2, 3]
    assert result.outcome.validation is None
    assert {"load", "train", "evaluate", "wait"} == set(result.outcome.times_s)
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_is_asked_and_goes_on_gives_what_it_gives_unasked(sample: Path, tmp_path: Path) -> None:
    unasked = measured(trial_request(sample, folder(tmp_path, "a")))
    asked = measured(replace(trial_request(sample, folder(tmp_path, "b")), decides_after=(1,)))
    assert asked.outcome.vectors_sha256 == unasked.outcome.vectors_sha256
    assert asked.outcome.validation == unasked.outcome.validation


@pytest.mark.parametrize(("scoring", "n_matrices"), [(Scoring.INPUT, 1), (Scoring.OUTPUT, 2), (Scoring.SUM, 1)])
def test_a_trial_tells_the_bytes_that_a_model_serves_from(
    sample: Path, tmp_path: Path, scoring: Scoring, n_matrices: int
) -> None:
    parameters = replace(QUICK, epochs=1, scoring=scoring)
    outcome = measured(trial_request(sample, tmp_path, parameters=parameters)).outcome
    n_known = int((read_corpus(sample).training_counts() > 0).sum())
    assert outcome.model_bytes == n_matrices * n_known * QUICK.vector_size * 4


@pytest.mark.parametrize("method", [Method.MOST_POPULAR, Method.NEXT_SONG, Method.CO_OCCURRENCE])
def test_a_plain_baseline_is_measured_on_both_sets_of_pairs(sample: Path, tmp_path: Path, method: Method) -> None:
    request = trial_request(sample, tmp_path, role=TrialRole.BASELINE, method=method, parameters=None)
    outcome = measured(request).outcome
    corpus = read_corpus(sample)
    for measurement_of, pairs in ((outcome.validation, corpus.validation), (outcome.test, corpus.test)):
        assert measurement_of is not None
        assert measurement_of.overall.n_pairs + measurement_of.overall.n_repeats == len(pairs)
    assert outcome.vectors_sha256 is None


def test_the_confirmation_measures_the_stored_vectors_on_the_test_pairs(sample: Path, tmp_path: Path) -> None:
    winner = measured(trial_request(sample, tmp_path))
    baseline = measured(trial_request(sample, folder(tmp_path, "b"), role=TrialRole.BASELINE))
    confirmed = measured(trial_request(sample, folder(tmp_path, "c"), role=TrialRole.CONFIRMATION, vectors=tmp_path))
    assert confirmed.outcome.test == baseline.outcome.test  # the same parameters and seed, trained separately
    assert confirmed.outcome.validation is None
    assert confirmed.outcome.vectors_sha256 == winner.outcome.vectors_sha256
    assert not confirmed.has_vectors


def test_damaged_vectors_are_not_confirmed(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(DamagedArtifact):
        perform(trial_request(sample, tmp_path, role=TrialRole.CONFIRMATION, vectors=tmp_path), lambda _: None)


def test_a_dataset_without_context_makes_every_point_infeasible(tmp_path: Path) -> None:
    plays = {"session_id": [str(n // 3) for n in range(30)], "song_id": [f"song-{n % 7}" for n in range(30)]}
    pq.write_table(pa.table(plays), tmp_path / "plays.parquet")
    corpus = folder(tmp_path, "corpus")
    sources = Sources(plays=tmp_path / "plays.parquet", songs=None, memory_limit="1GB")
    done(DatasetRequest(limits=LIMITS, staged=corpus, dataset=dataset(), sources=sources))
    with pytest.raises(Infeasible, match="two songs"):
        perform(trial_request(corpus, folder(tmp_path, "staged")), lambda _: None)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda corpus, staged: trial_request(corpus, staged, parameters=None),
        lambda corpus, staged: trial_request(corpus, staged, role=TrialRole.CONFIRMATION),
    ],
)
def test_a_request_that_lacks_what_it_needs_is_refused(
    sample: Path, tmp_path: Path, request_of: Callable[[Path, Path], TrialRequest]
) -> None:
    with pytest.raises(ValueError, match=r"needs parameters|measures stored vectors"):
        perform(request_of(sample, tmp_path), lambda _: None)


@pytest.mark.parametrize(("n_epochs", "n_measured"), [(1, 1), (3, 3), (10, 10), (11, 10), (100, 10), (1000, 10)])
def test_at_most_ten_epochs_are_measured_and_always_the_last(n_epochs: int, n_measured: int) -> None:
    epochs = measured_epochs(n_epochs)
    assert len(epochs) == n_measured
    assert max(epochs) == n_epochs
    assert min(epochs) >= 1


def test_a_phase_inside_another_is_counted_once() -> None:
    watch = Stopwatch()
    with watch.phase("train"):
        with watch.phase("evaluate"):
            time.sleep(0.02)
        with watch.phase("evaluate"):
            time.sleep(0.02)
    assert watch.seconds["evaluate"] > watch.seconds["train"] >= 0


def outcome_in_a_child(runner: Runner, request: TrialRequest) -> TrialMeasured | Failed:
    runner.begin(request)
    while True:
        match runner.listen(60):
            case TrialMeasured() | Failed() as told:
                return told
            case Ended() | RunnerGone() as end:
                raise AssertionError(end)


def test_a_child_gives_what_the_same_work_gives_here_and_fails_alone_without_memory(
    sample: Path, tmp_path: Path
) -> None:
    here = measured(trial_request(sample, folder(tmp_path, "here")))
    large = TrainingParameters(vector_size=1024, epochs=1)
    runner = Runner(child_environment(os.environ))
    try:
        request = trial_request(sample, folder(tmp_path, "a"), parameters=large)
        starved = outcome_in_a_child(runner, replace(request, limits=Limits(memory_bytes=20 << 20)))
        child = outcome_in_a_child(runner, trial_request(sample, folder(tmp_path, "b")))
    finally:
        runner.close()
    assert isinstance(starved, Failed)
    assert starved.failure.code == "out_of_memory"
    assert isinstance(child, TrialMeasured)
    assert child.outcome.vectors_sha256 == here.outcome.vectors_sha256
    assert child.outcome.validation == here.outcome.validation


# Segments


SEGMENTED = Objective(aggregate=Aggregate.MACRO)


@pytest.fixture(scope="module")
def by_artist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up listening of two languages, whose songs of one artist follow each other."""
    parent = tmp_path_factory.mktemp("segmented")
    rng = np.random.default_rng(0)
    plays: dict[str, list[str]] = {"session_id": [], "song_id": []}
    for session in range(400):
        first = rng.integers(0, 40) + 50 * (session % 2)
        plays["session_id"] += [f"{session:04}"] * 8
        plays["song_id"] += [f"song-{first + step:03}" for step in rng.permutation(8)]
    songs = {
        "song_id": [f"song-{n:03}" for n in range(100)],
        "artist": [f"artist {n // 5}" for n in range(100)],
        "language": ["ar" if n < 50 else "en" for n in range(100)],
    }
    for name, table in (("plays", plays), ("songs", songs)):
        pq.write_table(pa.table(table), parent / f"{name}.parquet")
    made = folder(parent, "corpus")
    request = DatasetRequest(
        limits=LIMITS,
        staged=made,
        dataset=replace(dataset(), spec=replace(dataset().spec, segment_by="language")),
        sources=Sources(plays=parent / "plays.parquet", songs=parent / "songs.parquet", memory_limit="1GB"),
    )
    done(request)
    return made


@pytest.mark.parametrize("role", [TrialRole.SEARCH, TrialRole.BASELINE])
def test_the_rank_of_each_pair_is_kept_and_gives_the_measurement(
    by_artist: Path, tmp_path: Path, role: TrialRole
) -> None:
    request = trial_request(by_artist, folder(tmp_path, "vectors"), role=role)
    outcome = measured(replace(request, ranks=folder(tmp_path, "ranks"))).outcome
    assert outcome.has_ranks
    kept: dict[PairSet, Measurement | None] = {"validation": outcome.validation, "test": outcome.test}
    for pair_set, measurement_of in kept.items():
        if measurement_of is None:
            assert not (tmp_path / "ranks" / f"{pair_set}.npz").exists()
            continue
        ranks = read_ranks(tmp_path / "ranks", pair_set)
        for name, scores in measurement_of.segments.items():
            assert scores.objective is not None
            values = pair_values(ranks.of_segment(name), hr_weight=0.5)
            assert np.nanmean(values) == pytest.approx(scores.objective.value)


def test_a_plain_baseline_keeps_its_ranks_too(by_artist: Path, tmp_path: Path) -> None:
    request = trial_request(by_artist, tmp_path, role=TrialRole.BASELINE, method=Method.CO_OCCURRENCE, parameters=None)
    measured(replace(request, ranks=folder(tmp_path, "ranks")))
    assert sorted(path.name for path in (tmp_path / "ranks").iterdir()) == ["test.npz", "validation.npz"]


def test_a_trial_is_judged_by_the_aggregate_and_tells_how_often_artists_repeat(by_artist: Path, tmp_path: Path) -> None:
    outcome = measured(replace(trial_request(by_artist, tmp_path), objective=SEGMENTED)).outcome
    assert outcome.validation is not None
    assert outcome.validation.artist_share is not None
    assert 0 < outcome.validation.artist_share < 1
    judged = outcome.validation.judged.objective
    assert judged is not None
    parts = [scores.objective.value for scores in outcome.validation.segments.values() if scores.objective is not None]
    assert len(parts) == 2
    assert judged.value == pytest.approx(np.mean(parts))
    assert judged.low < judged.value < judged.high
    assert outcome.epochs[-1].scores.objective == judged
    assert outcome.epochs[-1].scores.n_pairs == outcome.validation.overall.n_pairs


@pytest.mark.parametrize("trainer", OWN_TRAINERS)
def test_a_scoped_trial_sees_its_segment_alone(by_artist: Path, tmp_path: Path, trainer: Trainer) -> None:
    request = replace(trial_request(by_artist, tmp_path), objective=Objective(scope="en"), trainer=trainer)
    outcome = measured(request).outcome
    assert outcome.validation is not None
    assert outcome.validation.segments["ar"].n_pairs == 0
    assert outcome.validation.segments["en"].n_pairs == outcome.validation.overall.n_pairs > 0
    known = np.flatnonzero(read_vectors(tmp_path).is_known)
    songs = read_songs(by_artist)
    assert set(songs.column("language").take(pa.array(known)).to_pylist()) == {"en"}


def test_a_full_fit_of_a_scoped_study_knows_the_segment_s_songs_alone(by_artist: Path, tmp_path: Path) -> None:
    request = replace(model_request(by_artist, tmp_path, fit=Fit.FULL), scope="ar")
    done(request)
    assert set(read_model(request.staged).songs.column("language").to_pylist()) == {"ar"}


# Models


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("scoring", Scoring)
def test_what_is_served_is_scored_as_it_was_tuned(by_artist: Path, tmp_path: Path, scoring: Scoring, fit: Fit) -> None:
    """From training to the neighbours and the scores that a client is told, against the definition of each scoring."""
    parameters = replace(QUICK, scoring=scoring, epochs=4)
    vectors = folder(tmp_path, "vectors")
    tuned = measured(trial_request(by_artist, vectors, parameters=parameters))
    request = model_request(by_artist, tmp_path, fit=fit, vectors=vectors if fit is Fit.TRIAL else None)
    request = replace(request, model=replace(request.model, parameters=parameters))
    done(request)
    embeddings = read_vectors(vectors) if fit is Fit.TRIAL else fitted(by_artist, parameters)
    known = np.flatnonzero(embeddings.is_known)
    u, v = embeddings.input[known].astype(np.float64), embeddings.output[known].astype(np.float64)
    match scoring:
        case Scoring.INPUT:
            queries = songs = unit(u)
        case Scoring.OUTPUT:
            queries, songs = unit(u), v
        case Scoring.SUM:
            queries = songs = unit(u + v)
    expected = queries @ songs.T
    np.fill_diagonal(expected, -np.inf)
    ids = read_songs(by_artist).column("song_id").take(pa.array(known)).to_pylist()
    served = load_model(request.staged, "mdl_1")
    for row in range(len(ids)):
        found = served.neighbours(row, 5)
        best = np.sort(expected[row])[::-1][:5]
        assert [neighbour["score"] for neighbour in found] == pytest.approx(best.tolist(), abs=2e-6)
        rows = [ids.index(neighbour["song_id"]) for neighbour in found]
        assert expected[row, rows].tolist() == pytest.approx(best.tolist(), abs=2e-6)
    assert tuned.outcome.validation is not None


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def fitted(folder_of: Path, parameters: TrainingParameters) -> Embeddings:
    """What a full fit trains, by the same trainer and seed."""
    return trainer_of(Trainer.GENSIM).train(
        read_corpus(folder_of),
        parameters,
        seed=7,
        threads=1,
        held_out=False,
        on_progress=lambda _: None,
        on_epoch=lambda _, __: None,
    )


def model_request(
    corpus: Path, parent: Path, *, fit: Fit, vectors: Path | None = None, sources: Sources | None = None
) -> ModelRequest:
    model = Model(
        id="mdl_1",
        study_id="stu_1",
        trial_id="trl_1",
        dataset_id="dat_1",
        fit=fit,
        parameters=QUICK,
        state=ModelState.BUILDING,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        lineage=Lineage(
            dataset_id="dat_1",
            dataset_name="shipped",
            fingerprint="f",
            study_id="stu_1",
            study_name="a study",
            trainer=Trainer.GENSIM,
            trial_id="trl_1",
            trial_number=3,
        ),
        metrics=ModelMetrics(validation=measurement(0.3), test=None, baselines={}),
    )
    return ModelRequest(
        limits=LIMITS,
        training_threads=1,
        staged=folder(parent, "model"),
        scratch=folder(parent, "scratch"),
        corpus=corpus,
        model=model,
        dataset=dataset(sample_fraction=0.1),
        trainer=Trainer.GENSIM,
        seed=7,
        vectors=vectors,
        sources=sources,
    )


def test_a_model_of_the_winner_serves_the_winners_own_vectors(sample: Path, tmp_path: Path) -> None:
    vectors = folder(tmp_path, "vectors")
    measured(trial_request(sample, vectors))
    request = model_request(sample, tmp_path, fit=Fit.TRIAL, vectors=vectors)
    built = done(request)
    assert isinstance(built, ModelBuilt)
    stored, winner = read_model(request.staged), read_vectors(vectors)
    assert np.array_equal(stored.vectors, scoring_rows(winner, Scoring.INPUT).songs.whole()[winner.is_known])
    assert stored.lineage["trial_id"] == "trl_1"
    assert load_model(request.staged, "mdl_1").n_songs == built.index.n_songs == winner.is_known.sum()


def test_a_full_fit_of_a_sample_knows_the_songs_of_the_whole_dataset(sample: Path, tmp_path: Path) -> None:
    request = model_request(sample, tmp_path, fit=Fit.FULL, sources=SOURCES)
    built = done(request)
    assert isinstance(built, ModelBuilt)
    assert built.index.n_songs == read_corpus(request.scratch).n_songs > read_corpus(sample).n_songs


def test_a_full_fit_sees_the_songs_that_were_held_out(sample: Path, tmp_path: Path) -> None:
    built = done(model_request(sample, tmp_path, fit=Fit.FULL))
    assert isinstance(built, ModelBuilt)
    corpus = read_corpus(sample)
    assert built.index.n_songs == corpus.n_songs > np.count_nonzero(corpus.training_counts())


def test_a_table_is_built_beside_a_model_that_has_none_and_answers_as_its_search(sample: Path, tmp_path: Path) -> None:
    request = model_request(sample, tmp_path, fit=Fit.FULL)
    built = done(replace(request, index=IndexLimits(table_up_to=0)))
    assert isinstance(built, ModelBuilt)
    assert built.index.n_neighbours == 0
    table = done(
        TableRequest(
            limits=LIMITS,
            staged=folder(tmp_path, "table"),
            model_id="mdl_1",
            model_folder=request.staged,
            n_neighbours=12,
            index=IndexLimits(),
        )
    )
    assert isinstance(table, TableBuilt)
    assert (table.facts.n_songs, table.facts.n_neighbours) == (built.index.n_songs, 12)
    searching = load_model(request.staged, "mdl_1")
    looking_up = take_table(searching, tmp_path / "table")
    looked_up, searched = looking_up.neighbours(0, 12), searching.neighbours(0, 12)
    assert np.allclose([near["score"] for near in looked_up], [near["score"] for near in searched], atol=2e-6)
