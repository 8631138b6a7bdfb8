"""Differences: how the neighbours of two ready models differ."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from app.domain.differences import ChangedSong, Difference, NeighbourDifference
from app.domain.errors import Conflict, InvalidRequest
from app.domain.models import Model, ModelState
from app.domain.neighbour_tables import NeighbourTable, TableState
from app.domain.ports import ArtifactStore
from app.domain.repositories import UnitsOfWork
from app.services.artifacts import MODELS
from app.services.leasing import artifact_name
from app.services.neighbour_tables import KIND as NEIGHBOURS
from app.services.paging import Page

N_KEPT = 8
"""Comparisons kept: what they are made from never changes. One of a million songs takes 12 MB."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a model is: its files, and its table of neighbours where that was built later."""

    model_id: str
    files: Path
    table: Path | None


class Compare(Protocol):
    """Compares two models by their verified folders."""

    def __call__(self, one: Kept, other: Kept, /, *, k: int, segment_column: str | None) -> Difference:
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
            of_models = unit.tables.of_models([model_id, against])
        tables = {table.model_id: table for table in of_models if table.state is TableState.READY}
        for each in (model, other):
            _check_kept(each, tables.get(each.id), k)
        found = self._found(model, other, tables, k=k, column=column)
        rows = found.changed(start=start, limit=limit)
        end = start + len(rows)
        page = Page(rows, str(end) if rows and end < found.summary.n_common else None)
        return DifferenceReport(model_id, against, found.summary, page)

    def _found(
        self, model: Model, other: Model, tables: Mapping[str, NeighbourTable], *, k: int, column: str | None
    ) -> Difference:
        key = (model.id, other.id, k)
        with self._lock:  # the second who asks for the same waits for the first
            found = self._kept.get(key)
            if found is None:
                one, against = (self._kept_of(each, tables.get(each.id)) for each in (model, other))
                found = self._compare(one, against, k=k, segment_column=column)
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > N_KEPT:
                self._kept.popitem(last=False)
        return found

    def _kept_of(self, model: Model, table: NeighbourTable | None) -> Kept:
        return Kept(
            model.id,
            self._store.open(MODELS, artifact_name(model.id, model.attempt)),
            None if table is None else self._store.open(NEIGHBOURS, artifact_name(table.id, table.attempt)),
        )


def _check_kept(model: Model, table: NeighbourTable | None, k: int) -> None:
    if model.state is not ModelState.READY or model.index is None:
        raise Conflict(f"Model {model.id!r} is {model.state.value}: only ready ones are compared.")
    n_kept = model.index.n_neighbours if table is None else table.n_neighbours
    if n_kept < min(k, model.index.n_songs - 1):
        raise InvalidRequest(f"Model {model.id!r} keeps {n_kept} neighbours of each song, not {k}.", pointer="k")
