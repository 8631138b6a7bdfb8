"""What a filtered search costs on one core, k = 10: `python -m tests.benchmarks.filtering`."""

import time

import numpy as np
import pyarrow as pa
import typer

from app.adapters.live_model import LoadedModel
from app.adapters.vector_index import built_inverted_file
from app.domain.embedding import unit_rows
from app.domain.filtering import SongFilter

N_CENTRES = 500
N_QUERIES = 200


def main(n_songs: int = 50_000, dim: int = 100) -> None:
    """Print milliseconds a search by the share of the songs that pass."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N_CENTRES, dim))
    vectors = unit_rows((centres[rng.integers(N_CENTRES, size=n_songs)] + rng.normal(size=(n_songs, dim))).astype("f4"))
    draws = rng.random(n_songs)
    model = LoadedModel(
        "mdl",
        songs=pa.table(
            {
                "song_id": [f"s{row}" for row in range(n_songs)],
                "title": [None] * n_songs,
                "artist": [f"a{number}" for number in rng.integers(n_songs // 10, size=n_songs)],
                "n_plays": np.arange(n_songs, 0, -1),
                **{f"share{share}": (draws < share).astype("i8") for share in (0.001, 0.01, 0.1, 0.3, 0.5, 0.9)},
            }
        ),
        queries=vectors,
        neighbours=np.empty((n_songs, 0), dtype=np.int32),
        neighbour_scores=np.empty((n_songs, 0), dtype=np.float32),
        index=built_inverted_file(vectors, vectors, threads=2).inverted,
    )
    asked = {name: SongFilter.parsed([f"{name}=1"]) for name in model.columns[1:]}
    asked |= {f"{name}, 1 an artist": SongFilter.parsed([f"{name}=1"], max_per_artist=1) for name in model.columns[1:]}
    asked["1 an artist"] = SongFilter(max_per_artist=1)
    queries = model.query_rows(rng.integers(n_songs, size=N_QUERIES))
    for name, wanted in asked.items():
        started = time.perf_counter()
        model.search_within(queries[0], 10, wanted=wanted, excluded=np.array([1]))
        first_s = time.perf_counter() - started
        started = time.process_time()
        n_found, n_same = 0, 0
        for query in queries:
            rows, _ = model.search_within(query, 10, wanted=wanted, excluded=np.array([1]))
            n_found += len(rows)
        took_s = time.process_time() - started
        if wanted.max_per_artist is None:
            passing = np.flatnonzero(model.carriers(*wanted.where[0]))
            passing = passing[passing != 1]
            for query in queries:
                rows, _ = model.search_within(query, 10, wanted=wanted, excluded=np.array([1]))
                exact = passing[np.argsort(-(vectors[passing] @ query), kind="stable")[:10]]
                n_same += len(np.intersect1d(rows, exact))
        recall = "" if wanted.max_per_artist else f", recall {n_same / (10 * N_QUERIES):.3f}"
        took = f"{1e3 * took_s / N_QUERIES:6.2f} ms (first {1e3 * first_s:.1f})"
        print(f"{name:32} {took}, {n_found / N_QUERIES} songs{recall}")  # noqa: T201


if __name__ == "__main__":
    typer.run(main)
