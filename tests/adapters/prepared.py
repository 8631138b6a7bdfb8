"""Small sources and the datasets that are prepared from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.adapters.corpus import read_corpus, read_songs
from app.adapters.preparation import NOBODY, Prepared, prepare
from app.domain.datasets import DatasetSpec, SourceReference, Statistics
from app.domain.lease import Progress
from app.domain.listening import Corpus, Pairs, Preparation, Split

SHIPPED = Path(__file__).parents[2] / "app" / "demo" / "data" / "lastfm_three"
MINUTE = 60_000


@dataclass(frozen=True)
class Result:
    """A prepared dataset, read back, with songs by id instead of by row."""

    prepared: Prepared
    corpus: Corpus
    song_ids: list[str]
    folder: Path
    progress: list[Progress]

    @property
    def statistics(self) -> Statistics:
        return self.prepared.statistics

    @property
    def sessions(self) -> list[list[str]]:
        return [self.named(songs) for songs in np.split(self.corpus.plays, self.corpus.offsets[1:-1])]

    @property
    def validation(self) -> list[tuple[str, str]]:
        return self.pairs(self.corpus.validation)

    @property
    def test(self) -> list[tuple[str, str]]:
        return self.pairs(self.corpus.test)

    def pairs(self, pairs: Pairs) -> list[tuple[str, str]]:
        return list(zip(self.named(pairs.query), self.named(pairs.target), strict=True))

    def named(self, rows: NDArray[np.int32]) -> list[str]:
        return [self.song_ids[row] for row in rows]


def write(table: pa.Table | dict[str, Any], path: Path) -> Path:
    """The table as Parquet or CSV, after the path's ending."""
    table = table if isinstance(table, pa.Table) else pa.table(table)
    if path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def prepared(
    folder: Path,
    plays: pa.Table | dict[str, Any] | Path,
    *,
    songs: pa.Table | dict[str, Any] | Path | None = None,
    segment_by: str | None = None,
    split: Split = Split(),
    threads: int = 1,
    memory_limit: str = "256MB",
    ending: str = ".parquet",
    preparation: Preparation = Preparation(),
    erased: Mapping[str, int] = NOBODY,
) -> Result:
    """Write the sources into a new folder, prepare them and read the result back."""
    staged = folder / f"staged-{sum(1 for _ in folder.iterdir())}"
    staged.mkdir()
    progress: list[Progress] = []
    done = prepare(
        plays=plays if isinstance(plays, Path) else write(plays, folder / f"{staged.name}-plays{ending}"),
        songs=songs
        if songs is None or isinstance(songs, Path)
        else write(songs, folder / f"{staged.name}-songs{ending}"),
        spec=DatasetSpec(
            name="small",
            plays=SourceReference(source="plays"),
            preparation=preparation,
            split=split,
            segment_by=segment_by,
        ),
        staged=staged,
        erased=erased,
        memory_limit=memory_limit,
        threads=threads,
        on_progress=progress.append,
    )
    ids = read_songs(staged).column("song_id").to_pylist()
    return Result(done, read_corpus(staged), ids, staged, progress)
