"""A table of neighbours on disk, of a model whose own files hold none.

    neighbours.npy int32 (n, width), best first, -1 pads           neighbour_scores.npy float32 (n, width)
    table.json: format, model_id, n_songs, n_neighbours, recall

The rows are those of the model. The caller verifies the folder's manifest before it is read.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from app.adapters.disk import naming_a_full_disk
from app.adapters.live_model import LoadedModel
from app.adapters.model_files import (
    StoredModel,
    load_array,
    neighbour_search,
    open_index,
    read_model,
    write_neighbours,
)
from app.adapters.vector_index import InvertedFile
from app.domain.errors import DamagedArtifact
from app.domain.models import IndexLimits
from app.domain.neighbour_tables import TableFacts

FORMAT = 1


def write_table(
    model_folder: Path,
    *,
    model_id: str,
    staged: Path,
    n_neighbours: int,
    on_progress: Callable[[float], None],
    limits: IndexLimits,
    threads: int = 1,
) -> TableFacts:
    """Write the table of the model in a verified folder into an existing one.

    `on_progress` is told the share of the songs whose neighbours are found. Raises: DamagedArtifact, StorageFull.
    """
    model = read_model(model_folder)
    index = open_index(model)
    inverted = index if isinstance(index, InvertedFile) else None
    n_songs = model.index.n_songs
    is_exact = inverted is None or n_songs <= limits.exact_up_to
    facts = TableFacts(
        n_songs=n_songs,
        n_neighbours=min(n_neighbours, n_songs - 1),
        recall=1.0 if is_exact else model.index.recall,
    )
    search = neighbour_search(model.vectors, inverted, limits=limits, threads=threads)
    with naming_a_full_disk():
        write_neighbours(staged, model.queries, search, n_neighbours=facts.n_neighbours, on_progress=on_progress)
        told = {"format": FORMAT, "model_id": model_id, **asdict(facts)}
        (staged / "table.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return facts


def take_table(model: LoadedModel, folder: Path) -> LoadedModel:
    """The model with the table in a verified folder, when it has answered by it once.

    Raises: DamagedArtifact when the table is not one of this model.
    """
    facts = _read_facts(folder, model_id=model.model_id)
    shape = (model.n_songs, facts.n_neighbours)
    if facts.n_songs != model.n_songs:
        raise DamagedArtifact(f"{folder.name} is a table of {facts.n_songs} songs, not of the model's {model.n_songs}.")
    tabled = model.with_neighbours(
        load_array(folder / "neighbours.npy", np.int32, shape),
        load_array(folder / "neighbour_scores.npy", np.float32, shape),
    )
    tabled.warm_up()
    return tabled


def read_model_and_table(folder: Path, table: Path | None, *, model_id: str) -> StoredModel:
    """The model in a verified folder, with the table in another, if it has one there. Raises: DamagedArtifact."""
    model = read_model(folder)
    if table is None:
        return model
    shape = (model.index.n_songs, _read_facts(table, model_id=model_id).n_neighbours)
    return replace(
        model,
        neighbours=load_array(table / "neighbours.npy", np.int32, shape),
        neighbour_scores=load_array(table / "neighbour_scores.npy", np.float32, shape),
    )


def _read_facts(folder: Path, *, model_id: str) -> TableFacts:
    try:
        told = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        if told.pop("format") != FORMAT:
            raise DamagedArtifact(f"{folder.name}/table.json has a format that is not {FORMAT}.")
        if told.pop("model_id") != model_id:
            raise DamagedArtifact(f"{folder.name} is the table of another model than {model_id}.")
        return TableFacts(**told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArtifact(f"{folder.name}/table.json cannot be read.") from error
