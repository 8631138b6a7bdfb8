"""What an exposure costs the request: `python -m tests.benchmarks.exposures [--postgresql] [--rounds 5]`.

The real application runs in a process of its own, and is asked over one keep-alive connection, one request after the
other, for 10 songs for each of 1,000 users with a history of 100 plays:

    plain      without an experiment
    first      within an experiment that the user has not seen: the exposure is written, durably
    repeated   within the same experiment again
    outside    within an experiment whose traffic the user is not in

Kinds take turns, round by round, each round with experiments of its own. It prints the median time of a request as the
client waits for it, its 99th percentile, and the medians of the rounds' ratios to `plain`: of times, and of the
server's processor time.
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import http.client
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psutil

from app.bootstrap import Container
from app.config import Settings, load
from app.domain.experiments.experiment import Experiment, ExperimentSpec, Variant
from app.domain.experiments.metrics import MetricRole, from_preset
from tests.benchmarks.model import N_USERS, publish_model, user_id
from tests.conftest import start_postgresql
from tests.keys import HEADERS
from tests.processes import server, until

KINDS = ("plain", "first", "repeated", "outside")
N_WARM = 200
LEAST_TRAFFIC = 0.0001


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind in one round: times of requests in milliseconds, and the server's processor milliseconds a request."""

    p50_ms: float
    p99_ms: float
    processor_ms: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, default=N_USERS, help="in each round")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL instead of SQLite")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="segue-"))
    try:
        with database(folder, is_postgresql=given.postgresql) as url:
            settings = settings_on(folder, url)
            model_id = publish_model(settings, n_songs=given.songs, dim=given.dim)
            costs = measured(settings, model_id, n_rounds=given.rounds, n_users=given.users)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    name = "PostgreSQL" if given.postgresql else "SQLite"
    print(
        f"{name}, {given.songs} songs x {given.dim}, {given.rounds} rounds of {given.users} users; "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    report(costs)


@contextmanager
def database(folder: Path, *, is_postgresql: bool) -> Iterator[str]:
    """The URL of a database that keeps what it is told."""
    if not is_postgresql:
        yield f"sqlite:///{folder / 'segue.db'}"
        return
    started = start_postgresql(folder)
    try:
        yield started.get_uri(driver="psycopg")
    finally:
        started.cleanup()


def settings_on(folder: Path, url: str) -> Settings:
    """The settings of a server on this folder and database."""
    return load(
        env_file=None,
        data_dir=folder,
        database_url=url,
        sources={"plays": folder},
        log_level="warning",
        alias_poll_s=0.1,
    )


def measured(settings: Settings, model_id: str, *, n_rounds: int, n_users: int) -> dict[str, list[Cost]]:
    """Each kind's cost in each round."""
    container = Container(settings)
    costs: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    users = [user_id(number) for number in np.random.default_rng(0).permutation(N_USERS)[:n_users].tolist()]
    try:
        with server(settings) as started:
            process = psutil.Process(started.leader.pid)
            connection = http.client.HTTPConnection("127.0.0.1", started.port, timeout=30)
            until(lambda: served(connection, "production") == model_id, "the model is live")
            ask_all(connection, process, users[:N_WARM], "by=profile")
            for _ in range(n_rounds):
                inside = begun(container, model_id, connection, traffic=1.0)
                outside = begun(container, model_id, connection, traffic=LEAST_TRAFFIC)
                queries = ("by=profile", f"experiment={inside}", f"experiment={inside}", f"experiment={outside}")
                for kind, query in zip(KINDS, queries, strict=True):
                    costs[kind].append(ask_all(connection, process, users, query))
                n_exposed = sum(n for n, _ in container.experiments.get(inside).counts.values())
                assert n_exposed == n_users, f"{n_exposed} of {n_users} users were exposed"
                for experiment_id in (inside, outside):
                    container.experiments.stop(experiment_id)
    finally:
        container.stop()
    return costs


def begun(container: Container, model_id: str, connection: http.client.HTTPConnection, *, traffic: float) -> str:
    """The id of an experiment that the server serves."""
    spec = ExperimentSpec(
        name="cost",
        hypothesis="None: both variants are one model.",
        variants=(Variant(name="a", alias="production"), Variant(name="b", model_id=model_id)),
        metrics=(from_preset("plays_per_user", MetricRole.GOAL),),
        traffic=traffic,
    )
    made = container.experiments.create(spec)
    assert isinstance(made, Experiment)
    live_name = container.experiments.start(made.id).live_name("b")
    until(lambda: served(connection, live_name) == model_id, "both variants are live")
    return made.id


def ask_all(connection: http.client.HTTPConnection, process: psutil.Process, users: Sequence[str], query: str) -> Cost:
    """Ask for songs for each user."""
    times_ms = []
    before_s = spent_s(process)
    for user in users:
        began = time.perf_counter()
        asked(connection, f"/v1/users/{quote(user)}/recommendations?k=10&{query}")
        times_ms.append(1e3 * (time.perf_counter() - began))
    processor_ms = 1e3 * (spent_s(process) - before_s) / len(users)
    p50_ms, p99_ms = np.quantile(times_ms, [0.5, 0.99]).tolist()
    return Cost(p50_ms, p99_ms, processor_ms)


def asked(connection: http.client.HTTPConnection, path: str) -> bytes:
    """The body of an answer."""
    connection.request("GET", path, headers=HEADERS)
    answer = connection.getresponse()
    body = answer.read()
    assert path == "/health/ready" or answer.status == http.HTTPStatus.OK, body
    return body


def served(connection: http.client.HTTPConnection, alias: str) -> str | None:
    """The model that the server has live under an alias, or as a variant."""
    aliases = json.loads(asked(connection, "/health/ready")).get("aliases", [])
    return next((each["live_model_id"] for each in aliases if each["alias"] == alias), None)


def spent_s(process: psutil.Process) -> float:
    """Processor seconds that the server has spent."""
    times = process.cpu_times()
    return float(times.user + times.system)


def report(costs: dict[str, list[Cost]]) -> None:
    """Print a line a kind."""
    print(f"{'request':<10}{'p50 ms':>8}{'p99 ms':>8}{'of plain':>10}{'processor ms':>14}{'of plain':>10}")
    for kind, rounds in costs.items():
        pairs = list(zip(rounds, costs["plain"], strict=True))
        print(
            f"{kind:<10}"
            f"{statistics.median(cost.p50_ms for cost in rounds):>8.2f}"
            f"{statistics.median(cost.p99_ms for cost in rounds):>8.2f}"
            f"{statistics.median(ours.p50_ms / plain.p50_ms for ours, plain in pairs):>10.2f}"
            f"{statistics.median(cost.processor_ms for cost in rounds):>14.2f}"
            f"{statistics.median(ours.processor_ms / plain.processor_ms for ours, plain in pairs):>10.2f}"
        )


if __name__ == "__main__":
    main()
