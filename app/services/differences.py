"""Differences: how the neighbours of two ready models differ."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from app.domain.differences import ChangedSong, Difference, NeighbourDifference
from app.domain.errors import Conflict, InvalidRequest
from app.domain.models import Model, ModelState
from app.domain.ports import ArtifactStore
from app.domain.repositories import UnitsOfWork
from app.services.artifacts import MODELS
from app.services.leasing import artifact_name
from app.services.paging import Page

N_KEPT = 8
"""Comparisons kept: what they are made from never changes. One of a million songs takes 12 MB."""


class Compare(Protocol):
    """Compares the models in two verified folders."""

    def __call__(self, one: Path, other: Path, /, *, k: int, segment_column: str | None) -> Difference:
        """Raises: DamagedArtifact."""
        ...


@dataclass(frozen=True, slots=True)
class DifferenceReport:
    """Two models' difference, and a page of the songs whose neighbours change most."""

    model_id: str
    against: str
    summary: NeighbourDifference
    page: Page[ChangedSong]


class DifferenceService:
    """Compares models."""

    def __init__(self, units: UnitsOfWork, *, store: ArtifactStore, compare: Compare) -> None:
        self._units = units
        self._store = store
        self._compare = compare
        self._kept: OrderedDict[tuple[str, str, int], Difference] = OrderedDict()
        self._lock = Lock()

    def of(self, model_id: str, *, against: str, k: int, limit: int, start: int = 0) -> DifferenceReport:
        """How the neighbours of `against` become those of the model.

        Raises: NotFound, InvalidRequest when fewer than k are kept, Conflict when one is not ready, DamagedArtifact.
        """
        with self._units.reading() as unit:
            model, other = unit.models.get(model_id), unit.models.get(against)
            column = unit.datasets.get(model.dataset_id).spec.segment_by
        _check_kept((model, other), k)
        found = self._found(model, other, k=k, column=column)
        rows = found.changed(start=start, limit=limit)
        end = start + len(rows)
        page = Page(rows, str(end) if rows and end < found.summary.n_common else None)
        return DifferenceReport(model_id, against, found.summary, page)

    def _found(self, model: Model, other: Model, *, k: int, column: str | None) -> Difference:
        key = (model.id, other.id, k)
        with self._lock:  # the second who asks for the same waits for the first
            found = self._kept.get(key)
            if found is None:
                found = self._compare(self._files(model), self._files(other), k=k, segment_column=column)
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > N_KEPT:
                self._kept.popitem(last=False)
        return found

    def _files(self, model: Model) -> Path:
        return self._store.open(MODELS, artifact_name(model.id, model.attempt))


def _check_kept(models: tuple[Model, Model], k: int) -> None:
    for model in models:
        if model.state is not ModelState.READY or model.index is None:
            raise Conflict(f"Model {model.id!r} is {model.state.value}: only ready ones are compared.")
        n_kept = min(model.index.n_neighbours, k)
        if n_kept < k and model.index.n_neighbours < model.index.n_songs - 1:
            raise InvalidRequest(
                f"Model {model.id!r} keeps {model.index.n_neighbours} neighbours of each song, not {k}.", pointer="k"
            )
