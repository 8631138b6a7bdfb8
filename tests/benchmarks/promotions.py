"""What listeners notice of promotions: `python -m tests.benchmarks.promotions [--moves 200] [--rate 200]`.

A server of several processes (`segue serve --processes`) is asked for neighbours at a fixed rate, open loop: first
while nothing moves, then while an alias moves between two models, every third time by a rollback, then again at rest.
Each answer's songs are compared with those of the model that it names. It prints

    failed, wrong     requests that were not answered with 200; answers with other songs than the model's
    p50, p99          milliseconds from when a request was due, at rest and during the moves, and their ratio (target:
                      at most 1.5 at the 99th percentile)
    memory            of all server processes, each one's own and a share of what they map together, before and after
                      (target: flat)
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import os
import platform
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import psutil

from app.config import load
from tests.benchmarks.model import publish_model, song_id
from tests.keys import HEADERS
from tests.processes import Server, server

N_SONGS = 20_000
DIM = 64
N_CHECKED = 256
"""Songs that are asked for."""

ASKERS = 16
PROCESSES = 2
AT_REST_S = 15.0
MOVES_A_SECOND = 5.0

Expected = Mapping[tuple[str, str], Sequence[str]]
"""Ids of the ten nearest, by model and song."""


@dataclass
class Asked:
    """What became of the requests of one phase."""

    times_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.times_ms, share))


class Askers:
    """Ask at a rate, each from a connection of its own, and check the answers."""

    def __init__(self, url: str, songs: Sequence[str], expected: Expected, *, rate: float) -> None:
        self._url = url
        self._songs = songs
        self._expected = expected
        self._pause_s = ASKERS / rate

    @contextmanager
    def asking(self) -> Iterator[Asked]:
        """Ask until the block ends."""
        asked, enough = Asked(), threading.Event()
        with ThreadPoolExecutor(ASKERS) as pool:
            futures = [pool.submit(self._ask, number, asked, enough) for number in range(ASKERS)]
            try:
                yield asked
            finally:
                enough.set()
            for future in futures:
                future.result()

    def _ask(self, number: int, asked: Asked, enough: threading.Event) -> None:
        turn = number
        with httpx2.Client(base_url=self._url, timeout=30, headers=HEADERS) as http:
            http.get("/health/live")  # connected: what is timed is what an open connection waits
            due_s = time.perf_counter() + self._pause_s * number / ASKERS
            while not enough.wait(max(0.0, due_s - time.perf_counter())):
                song = self._songs[turn % len(self._songs)]
                try:
                    response = http.get(f"/v1/songs/{song}/neighbours")
                except httpx2.TransportError as error:
                    asked.failed.append(repr(error))
                else:
                    asked.times_ms.append(1000 * (time.perf_counter() - due_s))
                    self._check(song, response, asked)
                due_s += self._pause_s
                turn += ASKERS

    def _check(self, song: str, response: httpx2.Response, asked: Asked) -> None:
        if response.status_code != httpx2.codes.OK:
            asked.failed.append(response.text)
            return
        answer = response.json()
        if [near["song_id"] for near in answer["neighbours"]] != self._expected[answer["model_id"], song]:
            asked.wrong.append(response.text)


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = load(env_file=None, data_dir=Path(folder), sources={"plays": Path(folder)}, alias_poll_s=0.1, port=0)
        models = [publish_model(settings, n_songs=N_SONGS, dim=DIM, seed=seed) for seed in range(2)]
        with server(settings, arguments=("--processes", str(PROCESSES))) as started:
            measure(started, models, n_moves=given.moves, rate=given.rate)
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")


def measure(started: Server, models: Sequence[str], *, n_moves: int, rate: float) -> None:
    """Ask at rest, during the moves, and at rest again."""
    songs = [song_id(row) for row in range(N_CHECKED)]
    with httpx2.Client(base_url=started.url, timeout=30, headers=HEADERS) as http:
        expected = _expected(http, songs, models)
        askers = Askers(started.url, songs, expected, rate=rate)
        with askers.asking():
            time.sleep(2)  # everybody is connected and every page mapped
        before = _memory(started.leader)
        with askers.asking() as rest:
            time.sleep(AT_REST_S)
        with askers.asking() as moving:
            for number in range(n_moves):
                began_s = time.perf_counter()
                _move(http, number, models)
                time.sleep(max(0.0, 1 / MOVES_A_SECOND - (time.perf_counter() - began_s)))
        with askers.asking() as after:
            time.sleep(AT_REST_S)
        memory = _memory(started.leader)
    for name, asked in (("at rest", rest), (f"{n_moves} moves", moving), ("at rest again", after)):
        print(
            f"{name:<14} {len(asked.times_ms):6} requests, {len(asked.failed)} failed, {len(asked.wrong)} wrong; "
            f"p50 {asked.percentile(50):.2f} ms, p99 {asked.percentile(99):.2f} ms"
        )
    print(f"p99 during the moves over that at rest: {moving.percentile(99) / rest.percentile(99):.2f} (target <= 1.5)")
    print(f"memory of {PROCESSES} processes: {before / 2**20:.0f} MiB before, {memory / 2**20:.0f} MiB after")


def _expected(http: httpx2.Client, songs: Sequence[str], models: Sequence[str]) -> Expected:
    expected: dict[tuple[str, str], Sequence[str]] = {}
    for model_id in models:
        _point(http, model_id)
        wanted = {(model_id, song) for song in songs}
        while not wanted <= expected.keys():  # until each process has followed
            for song in songs:
                response = http.get(f"/v1/songs/{song}/neighbours")
                if response.status_code == httpx2.codes.OK:
                    answer = response.json()
                    expected[answer["model_id"], song] = [near["song_id"] for near in answer["neighbours"]]
    return expected


def _move(http: httpx2.Client, number: int, models: Sequence[str]) -> None:
    if number % 3 == 2:
        http.post("/v1/aliases/production/rollback").raise_for_status()
    else:
        _point(http, models[number % 2])


def _point(http: httpx2.Client, model_id: str) -> int:
    moved = http.put("/v1/aliases/production", json={"model_id": model_id, "override_reason": "a benchmark"})
    return int(moved.raise_for_status().json()["generation"])


def _memory(process: "subprocess.Popen[bytes]") -> int:
    """Bytes of the process and its children; what several map counts in parts (proportional set size)."""
    parent = psutil.Process(process.pid)
    return sum(each.memory_full_info().pss for each in (parent, *parent.children(recursive=True)))


if __name__ == "__main__":
    main()
