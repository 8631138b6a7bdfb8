"""The neighbours of a model's songs, computed: with the model, after it, or never."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import Body, FailureView, ProgressView, View
from app.domain.models import Model, ModelState, TableTiming
from app.domain.neighbour_tables import NeighbourTable, lacks_table

NeighboursState = Literal["pending", "stored", "waiting", "building", "ready", "failed", "searched"]

EXAMPLE_NEIGHBOURS: JsonDict = {
    "when": "after",
    "state": "building",
    "n": 64,
    "recall": None,
    "size_bytes": None,
    "progress": {"phase": "neighbours", "fraction": 0.4, "epoch": None},
    "attempt": 1,
    "failure": None,
    "finished_at": None,
}


class TableBody(Body):
    """What is to be computed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rebuild": False}]})

    rebuild: bool = Field(default=False, description="Compute anew what is ready, such as files that were damaged.")


class NeighboursView(View):
    """Whether a song's neighbours are looked up or searched. Either way they are answered."""

    when: TableTiming | None = Field(description="As asked at the promotion; null: by the number of songs.")
    state: NeighboursState = Field(
        description="`pending` until the model is ready. Then `stored`: in the model's own files; `searched`: none are "
        "computed; or the state of a table that a worker builds once nothing else waits: `waiting`, `building`, "
        "`ready` (servers take it up within seconds) or `failed`. Until it is ready every request searches."
    )
    n: int = Field(description="Neighbours of each song that are, or are to be, computed; more are searched.")
    recall: float | None = Field(description="Share of the 10 nearest by exact search that they hold, on a sample.")
    size_bytes: int | None = Field(description="Of the table's files, where it has its own.")
    progress: ProgressView | None
    attempt: int
    failure: FailureView | None = Field(description="Why the last attempt at the table failed.")
    finished_at: datetime | None

    @classmethod
    def of(cls, model: Model, table: NeighbourTable | None) -> "NeighboursView":
        """The view of a model's neighbours and of its table, if it has one."""
        if table is not None:
            return cls(
                when=model.neighbours,
                state=table.state.value,
                n=table.n_neighbours,
                recall=None if table.facts is None else table.facts.recall,
                size_bytes=sum(file.size_bytes for file in table.files) or None,
                progress=ProgressView.of(table.progress),
                attempt=table.attempt,
                failure=FailureView.of(table.failure),
                finished_at=table.finished_at,
            )
        return cls(
            when=model.neighbours,
            state=_state_without_table(model),
            n=0 if model.index is None else model.index.n_neighbours,
            recall=None if model.index is None else model.index.neighbour_recall,
            size_bytes=None,
            progress=None,
            attempt=0,
            failure=None,
            finished_at=None,
        )


def _state_without_table(model: Model) -> NeighboursState:
    if model.state is not ModelState.READY:
        return "pending"
    return "searched" if lacks_table(model) else "stored"
