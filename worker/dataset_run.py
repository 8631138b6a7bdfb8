"""One dataset, in its child: prepare the plays and compile them."""

from pathlib import Path

from app.adapters.preparation import Prepared, prepare
from app.domain.datasets import DatasetSpec
from worker.messages import DatasetPrepared, DatasetRequest, Limits, Sources, Tell


def prepare_dataset(request: DatasetRequest, tell: Tell) -> DatasetPrepared:
    """The compiled dataset's facts; its files are in the staged folder. Raises: InvalidSource, StorageFull."""
    prepared = compile_plays(
        request.dataset.spec, sources=request.sources, limits=request.limits, folder=request.staged, tell=tell
    )
    return DatasetPrepared(statistics=prepared.statistics, fingerprint=prepared.fingerprint)


def compile_plays(spec: DatasetSpec, *, sources: Sources, limits: Limits, folder: Path, tell: Tell) -> Prepared:
    """Write the compiled dataset into an empty folder."""
    return prepare(
        plays=sources.plays,
        songs=sources.songs,
        erased=sources.erased,
        spec=spec,
        staged=folder,
        memory_limit=sources.memory_limit,
        threads=limits.threads,
        on_progress=tell,
    )
