"""One model, in its child: the winner's own vectors, or a new training on the whole dataset; then what serves it."""

from dataclasses import asdict, replace
from pathlib import Path

from app.adapters.corpus import read_corpus, read_histories, read_songs
from app.adapters.model_files import write_model
from app.adapters.vectors import read_vectors
from app.domain.datasets import DatasetSpec
from app.domain.embedding import Embeddings, scoring_rows
from app.domain.lease import Progress
from worker.dataset_run import compile_plays
from worker.messages import ModelBuilt, ModelRequest, Tell
from worker.training import trainer_of
from worker.trial_run import training_progress


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
    return ModelBuilt(index=index)


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
