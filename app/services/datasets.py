"""Uploads and datasets: what clients ask for, and what workers report of preparing it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from app.domain.datasets import (
    DATASET_MOVES,
    Dataset,
    DatasetSpec,
    DatasetState,
    SourceReference,
    Statistics,
    Upload,
)
from app.domain.errors import Conflict, DamagedArtifact, InvalidRequest, LostLease, NotFound, Unavailable
from app.domain.lease import Claim, Failure, Progress
from app.domain.ports import ArtifactStore, Ids, LeaseWatch, Signals
from app.domain.repositories import LeasedRepository, UnitOfWork, UnitsOfWork
from app.services.idempotency import Idempotency, Replay, once
from app.services.leasing import LeasedService, artifact_name, claim_on, claimed
from app.services.paging import Page, page_of

KIND = "datasets"
"""The artifact store's name for compiled datasets."""

ERASURES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetWork:
    """A dataset to prepare and the files it is made from."""

    claim: Claim
    dataset: Dataset
    plays: Path
    songs: Path | None


class DatasetService(LeasedService[Dataset]):
    """Uploads and datasets."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        store: ArtifactStore,
        ids: Ids,
        signals: Signals,
        recognise: Callable[[Path], Literal["parquet", "csv"]],
        sources: Mapping[str, Path],
        lease: timedelta,
        watch: LeaseWatch,
        max_attempts: int = 3,
    ) -> None:
        super().__init__(units, signals=signals, lease=lease, watch=watch, max_attempts=max_attempts)
        self._store = store
        self._ids = ids
        self._recognise = recognise
        self._sources = dict(sources)

    # Uploads

    def receive_upload(
        self,
        chunks: Iterable[bytes],
        *,
        limit_bytes: int,
        expected_sha256: str | None = None,
        idempotency: Idempotency[Upload] | None = None,
    ) -> Upload | Replay:
        """Store a file of plays or songs; its bytes are safe on disk before it is acknowledged.

        Raises: TooLarge, StorageFull; InvalidSource when it is neither Parquet nor CSV; InvalidRequest when its
        SHA-256 is not the expected one.
        """
        identity = self._ids.new("upl")
        path, size_bytes, sha256 = self._store.receive(chunks, identity, limit_bytes=limit_bytes)
        is_kept = False
        try:
            if expected_sha256 is not None and expected_sha256 != sha256:
                raise InvalidRequest(
                    f"The file's SHA-256 is {sha256}, not the {expected_sha256} announced: it was damaged on its way.",
                    pointer="Content-Digest",
                )
            file_format = self._recognise(path)
            key = None if idempotency is None else idempotency.with_content(sha256)
            with self._units() as unit:
                upload = Upload(
                    id=identity, format=file_format, size_bytes=size_bytes, sha256=sha256, created_at=unit.now()
                )
                stored = once(unit, key, lambda: _added(unit, upload))
                unit.commit()
            is_kept = not isinstance(stored, Replay)
        except Unavailable:
            is_kept = True  # the row may have been stored all the same: a file without a row does less harm
            raise
        finally:
            if not is_kept:
                self._store.remove_upload(identity)
        return stored

    def get_upload(self, upload_id: str) -> Upload:
        """An upload. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.uploads.get(upload_id)

    def source_names(self) -> list[str]:
        """The sources that the operator configured, by name."""
        return sorted(self._sources)

    # Datasets

    def create(self, spec: DatasetSpec, *, idempotency: Idempotency[Dataset] | None = None) -> Dataset | Replay:
        """Ask for a dataset. Raises: InvalidRequest when it names an unknown upload or source."""
        with self._units() as unit:

            def create() -> Dataset:
                self._check_reference(unit, spec.plays, "plays")
                if spec.songs is not None:
                    self._check_reference(unit, spec.songs, "songs")
                elif spec.segment_by is not None:
                    raise InvalidRequest("segment_by names a column of the songs table: give songs.", pointer="/songs")
                dataset = Dataset(id=self._ids.new("dat"), spec=spec, state=DatasetState.QUEUED, created_at=unit.now())
                unit.datasets.add(dataset)
                return dataset

            dataset = once(unit, idempotency, create)
            unit.commit()
        self._signals.wake()
        return dataset

    def _check_reference(self, unit: UnitOfWork, reference: SourceReference, name: Literal["plays", "songs"]) -> None:
        if (reference.upload_id is None) == (reference.source is None):
            raise InvalidRequest(f"{name} needs either upload_id or source.", pointer=f"/{name}")
        if reference.source is not None:
            if reference.source not in self._sources:
                raise InvalidRequest(f"There is no source {reference.source!r}.", pointer=f"/{name}/source")
            return
        try:
            unit.uploads.get(str(reference.upload_id))
        except NotFound as error:
            raise InvalidRequest(str(error), pointer=f"/{name}/upload_id") from error

    def get(self, dataset_id: str) -> Dataset:
        """A dataset. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.datasets.get(dataset_id)

    def list(self, *, limit: int, cursor: str | None = None) -> Page[Dataset]:
        """Datasets, newest first."""
        with self._units.reading() as unit:
            rows = unit.datasets.page(limit=limit + 1, cursor=cursor)
        return page_of(rows, limit=limit, cursor=lambda dataset: dataset.id)

    # What workers report

    def claim(self, worker_id: str) -> DatasetWork | None:
        """The oldest queued dataset, now leased to the worker; one whose upload is gone fails here."""
        with self._units() as unit:
            found = unit.datasets.next_claimable()
            if found is None:
                return None
            now = unit.now()
            dataset = claimed(_moved(found, DatasetState.PREPARING), worker_id=worker_id, now=now, lease=self._lease)
            try:
                work = self._work(dataset)
            except DamagedArtifact as error:
                work = None
                failure = Failure(code=error.code, reason=str(error))
                dataset = replace(self._failed(dataset, now=now), lease=None, failure=failure)
            unit.datasets.save(dataset)
            unit.commit()
        return work

    def _work(self, dataset: Dataset) -> DatasetWork:
        spec = dataset.spec
        return DatasetWork(
            claim=claim_on(dataset, "dataset"),
            dataset=dataset,
            plays=self.path(spec.plays),
            songs=None if spec.songs is None else self.path(spec.songs),
        )

    def path(self, reference: SourceReference) -> Path:
        """Where the file is that a reference names. Raises: DamagedArtifact when an upload's bytes are gone."""
        if reference.upload_id is not None:
            return self._store.upload_path(reference.upload_id)
        return self._sources[str(reference.source)]

    def erased(self) -> dict[str, int]:
        """Users whose plays no dataset takes up again, and until when, in epoch milliseconds. Raises: Unavailable."""
        found: dict[str, int] = {}
        revision = 0
        with self._units.reading() as unit:
            while some := unit.listeners.erasures(after=revision, limit=ERASURES_AT_ONCE):
                found |= {erasure.user_id: erasure.erased_at_ms for erasure in some}
                revision = some[-1].revision
        return found

    def complete(self, claim: Claim, *, staged: Path, statistics: Statistics, fingerprint: str) -> Dataset:
        """Publish the compiled files, then the row. Raises: LostLease, StorageFull."""
        name = artifact_name(claim.id, claim.attempt)
        self._store.publish(staged, KIND, name)
        try:
            with self._units() as unit:
                held = _moved(unit.datasets.held(claim), DatasetState.READY)
                dataset = replace(
                    held,
                    lease=None,
                    progress=Progress(phase="ready", fraction=1.0),
                    statistics=statistics,
                    fingerprint=fingerprint,
                    failure=None,
                    finished_at=unit.now(),
                )
                unit.datasets.save(dataset)
                unit.commit()
        except LostLease:
            stored = self.get(claim.id)
            if stored.state is DatasetState.READY and stored.attempt == claim.attempt:
                return stored  # this very report was committed, but its acknowledgement was lost
            self._store.remove(KIND, name)
            raise
        return dataset

    def _repository(self, unit: UnitOfWork) -> LeasedRepository[Dataset]:
        return unit.datasets

    def _waiting(self, held: Dataset) -> Dataset:
        return _moved(held, DatasetState.QUEUED)

    def _failed(self, held: Dataset, *, now: datetime) -> Dataset:
        return replace(_moved(held, DatasetState.FAILED), finished_at=now)


def _added(unit: UnitOfWork, upload: Upload) -> Upload:
    unit.uploads.add(upload)
    return upload


def _moved(dataset: Dataset, state: DatasetState) -> Dataset:
    if state not in DATASET_MOVES[dataset.state]:
        raise Conflict(f"Dataset {dataset.id!r} is {dataset.state.value} and cannot become {state.value}.")
    return replace(dataset, state=state)
