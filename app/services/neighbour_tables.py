"""Tables of neighbours: asked for, built by a worker once nothing else waits, taken up by every server.

A model is ready, and may be live, without its table. The table is a row and an artifact of its own, so that it can
come hours later, fail, or be asked for anew, and the model neither waits nor changes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from app.domain.errors import Conflict, LostLease
from app.domain.lease import Claim, HeartbeatAnswer, Progress
from app.domain.models import Model, ModelState, TableTiming
from app.domain.neighbour_tables import NeighbourTable, Tabled, TableFacts, TableState, lacks_table
from app.domain.ports import ArtifactStore, Ids, LeaseWatch, Signals
from app.domain.repositories import LeasedRepository, UnitOfWork, UnitsOfWork
from app.services.idempotency import Idempotency, Replay, once
from app.services.leasing import LeasedService, artifact_name, claim_on, claimed

KIND = "neighbours"
"""The artifact store's name for tables of neighbours."""

YIELDS_AFTER = timedelta(seconds=10)
"""How long a model waits for a worker before one that builds a table hands it back."""

ORPHANED_AFTER_S = 3_600.0
N_LOOKED_UP = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TableWork:
    """A table to build, of a model whose files are named."""

    claim: Claim
    table: NeighbourTable
    model_files: str


class TableService(LeasedService[NeighbourTable]):
    """Tables of neighbours; `n_neighbours` of each song are kept, 0 turns them off."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        store: ArtifactStore,
        ids: Ids,
        signals: Signals,
        lease: timedelta,
        watch: LeaseWatch,
        n_neighbours: int,
        max_attempts: int = 3,
    ) -> None:
        super().__init__(units, signals=signals, lease=lease, watch=watch, max_attempts=max_attempts)
        self._store = store
        self._ids = ids
        self._n_neighbours = n_neighbours

    # What clients ask

    def of_model(self, model_id: str) -> Tabled:
        """A model with its table. Raises: NotFound."""
        with self._units.reading() as unit:
            model = unit.models.get(model_id)
            found = unit.tables.of_models([model_id])
        return Tabled(model, found[0] if found else None)

    def of_models(self, models: Collection[Model]) -> list[Tabled]:
        """The models in their order, each with its table."""
        with self._units.reading() as unit:
            found = {table.model_id: table for table in unit.tables.of_models([model.id for model in models])}
        return [Tabled(model, found.get(model.id)) for model in models]

    def ask(
        self, model_id: str, *, is_rebuilt: bool = False, idempotency: Idempotency[Tabled] | None = None
    ) -> Tabled | Replay:
        """Ask for the table of a ready model; nothing changes while it waits, or where there is one.

        `is_rebuilt` has one that is ready built anew. Raises: NotFound, Conflict when the model is not ready, its table
        is being built, or tables are turned off.
        """
        replaced: list[NeighbourTable] = []
        with self._units() as unit:

            def create() -> Tabled:
                model = unit.models.lock(model_id)
                if model.state is not ModelState.READY:
                    raise Conflict(f"Model {model_id!r} is {model.state.value}: only a ready one gets a table.")
                if not lacks_table(model):
                    return Tabled(model, None)
                table = unit.tables.of_model(model_id)
                if table is not None and table.state is TableState.BUILDING:
                    raise Conflict(f"The table of model {model_id!r} is being built.")
                if table is not None and not (table.state is TableState.FAILED or is_rebuilt):
                    return Tabled(model, table)
                if self._n_neighbours == 0:
                    raise Conflict("Tables of neighbours are turned off by SEGUE_NEIGHBOURS_KEPT.")
                if table is not None:
                    unit.tables.delete(table.id)
                    replaced.append(table)
                return Tabled(model, self._added(unit, model))

            tabled = once(unit, idempotency, create)
            unit.commit()
        for table in replaced:
            self._store.remove(KIND, artifact_name(table.id, table.attempt))
        self._signals.wake()
        return tabled

    def after(self, unit: UnitOfWork, model: Model) -> None:
        """Ask for the table of a model that becomes ready in this unit of work, if it is to have one."""
        if self._n_neighbours and model.neighbours is not TableTiming.OFF and lacks_table(model):
            self._added(unit, model)

    def _added(self, unit: UnitOfWork, model: Model) -> NeighbourTable:
        n_songs = 0 if model.index is None else model.index.n_songs
        table = NeighbourTable(
            id=self._ids.new("nbt"),
            model_id=model.id,
            n_neighbours=min(self._n_neighbours, n_songs - 1),
            state=TableState.WAITING,
            created_at=unit.now(),
        )
        unit.tables.add(table)
        return table

    # What servers follow

    def ready(self, model_ids: Collection[str]) -> Mapping[str, str]:
        """The names of the ready tables' files, by the ids of their models."""
        with self._units.reading() as unit:
            found = unit.tables.of_models(model_ids)
        return {
            table.model_id: artifact_name(table.id, table.attempt) for table in found if table.state is TableState.READY
        }

    # What workers report

    def claim(self, worker_id: str) -> TableWork | None:
        """The oldest table that waits, now leased to the worker."""
        with self._units() as unit:
            found = unit.tables.next_claimable()
            if found is None:
                return None
            begun = replace(found, state=TableState.BUILDING)
            table = claimed(begun, worker_id=worker_id, now=unit.now(), lease=self._lease)
            unit.tables.save(table)
            model = unit.models.get(table.model_id)
            unit.commit()
        return TableWork(
            claim=claim_on(table, "table"), table=table, model_files=artifact_name(model.id, model.attempt)
        )

    def heartbeat(self, claim: Claim, progress: Progress | None = None) -> HeartbeatAnswer:
        """Extend the lease; a model that waits for a worker all that time is told to be let through."""
        answer = super().heartbeat(claim, progress)
        if answer is not HeartbeatAnswer.CONTINUE:
            return answer
        with self._units.reading() as unit:
            is_in_the_way = unit.models.has_waiting(since=unit.now() - YIELDS_AFTER)
        return HeartbeatAnswer.CANCEL if is_in_the_way else answer

    def complete(self, claim: Claim, *, staged: Path, facts: TableFacts) -> NeighbourTable:
        """Publish the files, then the row. Raises: LostLease, StorageFull."""
        name = artifact_name(claim.id, claim.attempt)
        files = self._store.publish(staged, KIND, name)
        try:
            with self._units() as unit:
                table = replace(
                    unit.tables.held(claim),
                    state=TableState.READY,
                    lease=None,
                    progress=Progress(phase="ready", fraction=1.0),
                    files=files,
                    facts=facts,
                    failure=None,
                    finished_at=unit.now(),
                )
                unit.tables.save(table)
                unit.commit()
        except LostLease:
            with self._units.reading() as unit:
                stored = unit.tables.having([claim.id])
            if stored and stored[0].state is TableState.READY and stored[0].attempt == claim.attempt:
                return stored[0]  # this very report was committed, but its acknowledgement was lost
            self._store.remove(KIND, name)
            raise
        return table

    def sweep(self, *, older_than_s: float = ORPHANED_AFTER_S) -> int:
        """Remove files that no table keeps: of models that are gone, and what crashes left; how many.

        Only what nobody has written to for so long: a worker may have published its files and not yet their row.
        """
        names = self._store.untouched(KIND, for_s=older_than_s)
        n_swept = 0
        for start in range(0, len(names), N_LOOKED_UP):
            looked_at = names[start : start + N_LOOKED_UP]
            with self._units.reading() as unit:
                tables = unit.tables.having({name.rpartition("-")[0] for name in looked_at})
            states = {TableState.READY, TableState.BUILDING}
            kept = {artifact_name(table.id, table.attempt) for table in tables if table.state in states}
            for name in looked_at:
                if name not in kept:
                    self._store.remove(KIND, name)
                    n_swept += 1
        return n_swept

    def _repository(self, unit: UnitOfWork) -> LeasedRepository[NeighbourTable]:
        return unit.tables

    def _waiting(self, held: NeighbourTable) -> NeighbourTable:
        return replace(held, state=TableState.WAITING)

    def _failed(self, held: NeighbourTable, *, now: datetime) -> NeighbourTable:
        return replace(held, state=TableState.FAILED, finished_at=now)
