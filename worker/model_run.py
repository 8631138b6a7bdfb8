"""One model, in its child: the winner's own vectors, or a new training on the whole dataset; then what serves it."""

import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from app.adapters.corpus import read_corpus, read_histories, read_songs
from app.adapters.exact_search import ExactNeighbourSearch
from app.adapters.live_model import LoadedModel
from app.adapters.model_comparison import rows_in
from app.adapters.model_files import load_model, read_model, write_model
from app.adapters.ranks import write_ranks
from app.adapters.vectors import read_vectors
from app.domain.datasets import DatasetSpec
from app.domain.embedding import Embeddings, scoring_rows
from app.domain.evaluating import evaluate
from app.domain.lease import Progress
from app.domain.models import Latency, Rival
from worker.dataset_run import compile_plays
from worker.messages import ModelBuilt, ModelRequest, Tell
from worker.training import trainer_of
from worker.trial_run import training_progress

N_WARMING, N_TIMED, TIMED_K = 20, 200, 10
"""Searches that are not counted, searches that are, and the songs that each finds."""


def build_model(request: ModelRequest, tell: Tell) -> ModelBuilt:
    """The model's index; its files are in the staged folder. Raises: Infeasible, DamagedArtifact, StorageFull."""
    folder = _dataset_folder(request, tell)
    embeddings = _embeddings(request, folder, tell)
    scoring = request.model.parameters.scoring
    index = write_model(
        rows=scoring_rows(embeddings, scoring),
        songs=read_songs(folder),
        histories=read_histories(folder),
        staged=request.staged,
        scoring=scoring,
        lineage=_lineage(request),
        on_progress=lambda share: tell(Progress(phase="neighbours", fraction=share)),
        limits=request.index,
        threads=request.limits.threads,
    )
    model = load_model(request.staged, request.model.id)
    return ModelBuilt(index=index, latency=search_latency(model), rival=_rival(request, tell))


def search_latency(model: LoadedModel) -> Latency:
    """How long it takes the model to find ten songs near a vector, one vector at a time, after some to warm up."""
    rows = np.random.default_rng(0).integers(model.n_songs, size=N_WARMING + N_TIMED, dtype=np.int64)
    vectors = model.query_rows(rows)
    seconds = []
    for vector in vectors:
        began = time.perf_counter()
        model.search(vector, min(TIMED_K, model.n_songs))
        seconds.append(time.perf_counter() - began)
    p50, p99 = (1000.0 * np.quantile(seconds[N_WARMING:], [0.5, 0.99])).tolist()
    return Latency(p50_ms=round(p50, 4), p99_ms=round(p99, 4), n_searches=N_TIMED)


def _rival(request: ModelRequest, tell: Tell) -> Rival | None:
    """What the live model measures on this dataset's test pairs; what became of each is left beside the files."""
    if request.rival is None or request.rival_id is None:
        return None
    tell(Progress(phase="rival", fraction=0.0))
    whole, objective = read_corpus(request.corpus), request.objective
    corpus = whole if objective.scope is None else whole.scoped(objective.scope)
    measurement = evaluate(
        rows_in(read_model(request.rival), read_songs(request.corpus).column("song_id")),
        corpus.test,
        search=ExactNeighbourSearch(threads=request.limits.threads),
        k=objective.k,
        hr_weight=objective.hr_weight,
        repeats=corpus.split.repeats,
        segments=corpus.segments,
        training_counts=corpus.training_counts(),
        artists=corpus.artists,
        on_ranks=lambda ranks: write_ranks(request.staged, {"test": ranks}),
    )
    return Rival(model_id=request.rival_id, measurement=measurement)


def _dataset_folder(request: ModelRequest, tell: Tell) -> Path:
    """The compiled dataset; for a full fit of a sample, the whole of it, compiled again."""
    if request.sources is None:
        return request.corpus
    compile_plays(
        _unsampled(request.dataset.spec),
        sources=request.sources,
        limits=request.limits,
        folder=request.scratch,
        tell=tell,
    )
    return request.scratch


def _unsampled(spec: DatasetSpec) -> DatasetSpec:
    return replace(spec, preparation=replace(spec.preparation, sample_fraction=1.0))


def _embeddings(request: ModelRequest, folder: Path, tell: Tell) -> Embeddings:
    if request.vectors is not None:
        return read_vectors(request.vectors)
    parameters = request.model.parameters
    tell(Progress(phase="train", fraction=0.0))
    corpus = read_corpus(folder)
    return trainer_of(request.trainer).train(
        corpus if request.scope is None else corpus.scoped(request.scope),
        parameters,
        seed=request.seed,
        threads=request.training_threads,
        held_out=False,
        on_progress=lambda progress: tell(training_progress(progress, parameters)),
        on_epoch=lambda _epoch, _embeddings: None,
    )


def _lineage(request: ModelRequest) -> dict[str, object]:
    model = request.model
    return {
        "model_id": model.id,
        **asdict(model.lineage),
        "fit": model.fit,
        "parameters": asdict(model.parameters),
        "segment_by": request.dataset.spec.segment_by,
    }
