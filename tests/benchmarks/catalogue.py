"""What a large catalogue costs to build, load and search: `python -m tests.benchmarks.catalogue [--songs 1000000]`.

A model of that many songs (vectors around centres, as songs of a kind lie) is written as a worker writes it, then
loaded in two servers at once, as processes of their own, and asked. It prints

    coding, recall     how the index keeps its rows, and the share of the ten nearest that it finds
    build s, peak      seconds of the whole, and the most memory of the process that built it
    on disk, index     of all files, and of the index alone
    load s             until a server has verified nothing but read all and answered once
    own, mapped        memory of one of the two servers: its own, and pages of files, which all servers share
    search, look-up    microseconds of one query with 10 answers (median), and of a song's stored neighbours

`--memory` bounds the index in GiB, and so chooses the coding; `--kept 0` leaves the table of neighbours out.
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from app.adapters.live_model import LoadedModel
from app.adapters.model_files import load_model, write_model
from app.domain.embedding import Rows, Scoring, ScoringRows
from app.domain.models import IndexLimits
from tests.benchmarks.model import histories, songs_table, unit_vectors

GIB = 1 << 30
N_ASKED = 500


@dataclass(frozen=True, slots=True)
class Built:
    """What building told."""

    facts: dict[str, Any]
    build_s: float
    peak_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server that loaded the model told."""

    load_s: float
    search_us: float
    look_up_us: float


def main() -> None:
    """Print a line a size, or take one of the parts: the builder or a server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--memory", type=float, default=8.0, help="GiB that the index may take")
    parser.add_argument("--kept", type=int, default=64, help="neighbours kept of each song")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build is not None:
        limits = IndexLimits(neighbours_kept=given.kept, memory_bytes=int(given.memory * GIB))
        print(json.dumps(asdict(build(given.build, n_songs=given.songs[0], dim=given.dim, limits=limits))))
    elif given.load is not None:
        told, model = load(given.load)
        print(json.dumps(asdict(told)), flush=True)
        sys.stdin.read()  # alive until both have been looked at
        del model
    else:
        print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
        for n_songs in given.songs:
            report(n_songs, given)


def report(n_songs: int, given: argparse.Namespace) -> None:
    """Build one model and load it twice."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--songs", n_songs, "--dim", given.dim, "--memory", given.memory, "--kept", given.kept]
        with ExitStack() as stack:
            built = Built(**_answer(_part(stack, "--build", folder, *options)))
        facts = built.facts
        print(
            f"{n_songs:,} songs x {given.dim}: {facts['kind']}, {facts['coding']}, recall {facts['recall']:.3f} "
            f"(profiles {facts['profile_recall']:.3f}), {facts['n_neighbours']} neighbours kept; "
            f"build {built.build_s:.0f} s, peak {built.peak_bytes / GIB:.1f} GiB; "
            f"on disk {built.disk_bytes / GIB:.2f} GiB, index {facts['size_bytes'] / GIB:.2f} GiB"
        )
        with ExitStack() as stack:
            servers = [_part(stack, "--load", folder, *options) for _ in range(2)]
            loaded = [Loaded(**_answer(server)) for server in servers]
            maps = psutil.Process(servers[0].pid).memory_maps()
        own_bytes = sum(part.anonymous for part in maps)
        mapped_bytes = sum(part.rss for part in maps) - own_bytes
        print(
            f"    load {statistics.median(server.load_s for server in loaded):.1f} s; "
            f"own {own_bytes / GIB:.2f} GiB, mapped {mapped_bytes / GIB:.2f} GiB a server; "
            f"search {loaded[0].search_us:.0f} us, look-up {loaded[0].look_up_us:.1f} us",
            flush=True,
        )


def build(folder: Path, *, n_songs: int, dim: int, limits: IndexLimits) -> Built:
    """Write such a model into the folder."""
    vectors = Rows(unit_vectors(n_songs, dim), is_unit=True)
    songs, heard = songs_table(n_songs), histories(n_songs)
    began_s = time.perf_counter()
    facts = write_model(
        rows=ScoringRows(vectors, vectors, np.ones(n_songs, dtype=np.bool_)),
        songs=songs,
        histories=heard,
        staged=folder,
        scoring=Scoring.INPUT,
        lineage={},
        on_progress=lambda _share: None,
        limits=limits,
        threads=os.cpu_count() or 1,
    )
    return Built(
        facts=asdict(facts),
        build_s=time.perf_counter() - began_s,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        disk_bytes=sum(path.stat().st_size for path in folder.iterdir()),
    )


def load(folder: Path) -> tuple[Loaded, LoadedModel]:
    """Load the model as a server does, and ask it."""
    began_s = time.perf_counter()
    model = load_model(folder, "mdl_benchmark")
    load_s = time.perf_counter() - began_s
    asked = np.random.default_rng(1).integers(0, model.n_songs, N_ASKED).tolist()
    queries = model.query_rows(np.array(asked))
    told = Loaded(
        load_s=load_s,
        search_us=_median_us(lambda turn: model.search(queries[turn], 10)),
        look_up_us=_median_us(lambda turn: model.written_neighbours(asked[turn], 10)),
    )
    return told, model


def _median_us(ask: Callable[[int], object]) -> float:
    times_s = []
    for turn in range(N_ASKED):
        began_s = time.perf_counter()
        ask(turn)
        times_s.append(time.perf_counter() - began_s)
    return 1e6 * statistics.median(times_s)


def _part(stack: ExitStack, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.benchmarks.catalogue", *map(str, arguments)]
    return stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))


def _answer(part: "subprocess.Popen[str]") -> dict[str, Any]:
    assert part.stdout is not None
    told: dict[str, Any] = json.loads(part.stdout.readline())
    return told


if __name__ == "__main__":
    main()
