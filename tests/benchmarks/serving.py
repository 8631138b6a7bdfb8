"""What serving costs over loopback: `python -m tests.benchmarks.serving [--songs 50000] [--rounds 5]`.

The real application runs in one process, on uvicorn with uvloop and httptools, and a second process drives it over
keep-alive connections. The routes take turns, round by round, so that a machine that slows down slows all of them:

    bare              an ASGI application that answers with a constant of the same size, before all of ours
    constant          a FastAPI route that answers with it, mounted beside ours, inside all that surrounds them
    neighbours        k = 10 of a song chosen at random
    recommendations   k = 10 for a user with a history of 100 plays, and the database asked for plays since
    gensim, usearch, qdrant     k = 10 of a song by `most_similar`, an HNSW index, Qdrant's local mode, each behind a
                      FastAPI route that answers with the same fields

It prints requests per second of the server's processor time (the median of the rounds: what a busy machine changes
least), and the medians of each round's ratios (targets: neighbours >= 0.9 of constant and >= 0.35 of bare,
recommendations >= 0.4 of constant, both >= 20 times gensim); and how busy the driver was, to show that it is not what
is measured. Last, the 50th and 99th percentile of the times at half of what was answered at most, open loop.
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import os
import platform
import socket
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import psutil
import uvicorn
from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.bootstrap import Container
from app.config import Settings, load
from app.loading import loading
from app.log import configure
from app.main import create_app
from app.server import PROTOCOL, give_way_often
from tests.benchmarks.driving import Drive, Driver, answer_drives, part_of, told_port
from tests.benchmarks.model import N_USERS, publish_model, song_id, songs_table, unit_vectors, user_id
from tests.keys import HEADERS

MODULE = "tests.benchmarks.serving"
BARE = "/benchmark/bare"
OURS = ("neighbours", "recommendations")
OTHERS = ("gensim", "usearch", "qdrant")
ROUTES = ("bare", "constant", *OURS, *OTHERS)
N_PATHS = 4_096
OPEN_CONNECTIONS = 64
OPEN_S = 10.0


def main() -> None:
    """Print the table, or take one of the two other parts: the server or the driver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each route in each round")
    parser.add_argument("--connections", type=int, default=4, help="more would be refused by an overloaded server")
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=ROUTES)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve, n_songs=given.songs, dim=given.dim, others=[name for name in OTHERS if name in given.routes])
    elif given.drive is not None:
        answer_drives(given.drive, HEADERS)
    else:
        compare(given)


def compare(given: argparse.Namespace) -> None:
    """Drive the routes in turn and print what came out."""
    size = ("--songs", given.songs, "--dim", given.dim)
    with tempfile.TemporaryDirectory() as folder:
        publish_model(prepared(Path(folder)), n_songs=given.songs, dim=given.dim)
        with part_of(MODULE, "--serve", folder, *size, "--routes", *given.routes) as server:
            port = told_port(server)
            with part_of(MODULE, "--drive", port) as other:
                driver, paths = Driver(other), _paths(given.songs)
                drives, spent_us = _rounds(driver, psutil.Process(server.pid), paths, given)
                print(
                    f"{given.songs} songs x {given.dim}, {given.rounds} rounds of {given.seconds:g} s, "
                    f"{given.connections} connections; {platform.machine()}, {os.cpu_count()} cores, "
                    f"Python {platform.python_version()}"
                )
                _report(drives, spent_us)
                for route in (name for name in OURS if name in given.routes):
                    rate = statistics.median(drive.requests_per_s for drive in drives[route]) / 2
                    at_half = driver.open(
                        paths[route], seconds=OPEN_S, connections=OPEN_CONNECTIONS, rate=rate, may_shed=True
                    )
                    print(
                        f"{route} at {rate:.0f} requests a second, open loop: "
                        f"p50 {at_half.p50_ms:.2f} ms, p99 {at_half.p99_ms:.2f} ms, {at_half.n_shed} shed"
                    )


def _rounds(
    driver: Driver, server: psutil.Process, paths: Mapping[str, Sequence[str]], given: argparse.Namespace
) -> tuple[dict[str, list[Drive]], dict[str, list[float]]]:
    """Each round's drive of each route, and the server's processor microseconds a request in it."""
    for route in given.routes:
        driver.closed(paths[route], seconds=0.5, connections=given.connections)
    drives: dict[str, list[Drive]] = {route: [] for route in given.routes}
    spent_us: dict[str, list[float]] = {route: [] for route in given.routes}
    for _ in range(given.rounds):
        for route in given.routes:
            before_s = _spent_s(server)
            drive = driver.closed(paths[route], seconds=given.seconds, connections=given.connections)
            drives[route].append(drive)
            spent_us[route].append(1e6 * (_spent_s(server) - before_s) / drive.n_requests)
    return drives, spent_us


def _spent_s(watched: psutil.Process) -> float:
    """Processor seconds that the server has spent, in its own code and the kernel's."""
    times = watched.cpu_times()
    return float(times.user + times.system)


def _paths(n_songs: int) -> dict[str, list[str]]:
    rng = np.random.default_rng(0)
    songs = rng.integers(0, n_songs, N_PATHS).tolist()
    users = rng.integers(0, N_USERS, N_PATHS).tolist()
    return {
        "bare": [BARE],
        "constant": ["/benchmark/constant"],
        "neighbours": [f"/v1/songs/{quote(song_id(song))}/neighbours?k=10" for song in songs],
        "recommendations": [f"/v1/users/{quote(user_id(user))}/recommendations?k=10" for user in users],
        **{name: [f"/benchmark/{name}/{song}" for song in songs] for name in OTHERS},
    }


def _report(drives: Mapping[str, Sequence[Drive]], spent_us: Mapping[str, Sequence[float]]) -> None:
    references = [name for name in ("bare", "constant", "gensim") if name in drives]
    print(
        f"{'route':<17}{'per CPU s':>10}{'requests/s':>11}{'p99 ms':>8}"
        + "".join(f"{'of ' + name:>13}" for name in references)
        + f"{'driver busy':>13}"
    )
    for route, driven in drives.items():
        ratios = [
            statistics.median(theirs / ours for theirs, ours in zip(spent_us[name], spent_us[route], strict=True))
            for name in references
        ]
        print(
            f"{route:<17}{1e6 / statistics.median(spent_us[route]):>10,.0f}"
            f"{statistics.median(drive.requests_per_s for drive in driven):>11,.0f}"
            f"{statistics.median(drive.p99_ms for drive in driven):>8.2f}"
            + "".join(f"{ratio:>13.2f}" for ratio in ratios)
            + f"{statistics.median(drive.driver_share for drive in driven):>13.0%}"
        )


# The server


def prepared(folder: Path) -> Settings:
    """The settings of a server on this folder."""
    return load(env_file=None, data_dir=folder, sources={"plays": folder}, log_level="warning")


def serve(folder: Path, *, n_songs: int, dim: int, others: Sequence[str]) -> None:
    """The application on a free port of loopback; says which once its model is live."""
    settings = prepared(folder)
    configure(level=settings.log_level, log_format=settings.log_format)
    give_way_often()  # as `segue serve` does
    with loading():
        container = Container(settings)
        app = create_app(container)
        _mount_others(app, others, n_songs=n_songs, dim=dim)
    container.live.look()
    body = orjson.dumps(container.serving.neighbours(song_id(0)))
    _mount_constant(app, body)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        _bare_first(app, body),
        loop="uvloop",
        http=PROTOCOL,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _bare_first(app: ASGIApp, body: bytes) -> ASGIApp:
    head = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
    }
    rest = {"type": "http.response.body", "body": body}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != BARE:
            await app(scope, receive, send)
            return
        await send(head)
        await send(rest)

    return answer


def _mount_constant(app: FastAPI, body: bytes) -> None:
    @app.get("/benchmark/constant")
    async def constant() -> Response:
        return Response(body, media_type="application/json")

    _to_the_front(app)


def _to_the_front(app: FastAPI) -> None:
    """Before all others: a route is looked for in the order in which routes were added."""
    app.router.routes.insert(0, app.router.routes.pop())


def _mount_others(app: FastAPI, others: Sequence[str], *, n_songs: int, dim: int) -> None:
    """A route each that answers as ours does, by what others offer."""
    makers: dict[str, Callable[[Any], Callable[[int], list[tuple[int, float]]]]] = {
        "gensim": _gensim,
        "usearch": _usearch,
        "qdrant": _qdrant,
    }
    vectors = unit_vectors(n_songs, dim) if others else None
    songs = songs_table(n_songs).select(["song_id", "title", "artist"]).to_pylist() if others else []
    for name in others:
        app.get(f"/benchmark/{name}/{{row}}")(_answering(makers[name](vectors), songs))
        _to_the_front(app)


def _answering(
    nearest: Callable[[int], list[tuple[int, float]]], songs: Sequence[dict[str, str]]
) -> Callable[[int], Awaitable[Response]]:
    async def answer(row: int) -> Response:
        near = [{**songs[found], "score": score} for found, score in nearest(row)]
        return Response(
            orjson.dumps({"song_id": songs[row]["song_id"], "neighbours": near}), media_type="application/json"
        )

    return answer


def _gensim(vectors: Any) -> Callable[[int], list[tuple[int, float]]]:  # noqa: ANN401 - a matrix
    from gensim.models import KeyedVectors

    kept = KeyedVectors(vectors.shape[1])
    kept.add_vectors([str(row) for row in range(len(vectors))], vectors)

    def nearest(row: int) -> list[tuple[int, float]]:
        return [(int(found), float(score)) for found, score in kept.most_similar(str(row), topn=10)]

    return nearest


def _usearch(vectors: Any) -> Callable[[int], list[tuple[int, float]]]:  # noqa: ANN401 - a matrix
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(vectors)), vectors)

    def nearest(row: int) -> list[tuple[int, float]]:
        found = index.search(vectors[row], 11)
        near = zip(found.keys.tolist(), found.distances.tolist(), strict=True)
        return [(key, 1 - distance) for key, distance in near if key != row][:10]

    return nearest


def _qdrant(vectors: Any) -> Callable[[int], list[tuple[int, float]]]:  # noqa: ANN401 - a matrix
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection(
        "songs", vectors_config=models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT)
    )
    client.upload_collection("songs", vectors=vectors, ids=list(range(len(vectors))))

    def nearest(row: int) -> list[tuple[int, float]]:
        points = client.query_points("songs", query=vectors[row], limit=11).points
        return [(int(point.id), point.score) for point in points if point.id != row][:10]

    return nearest


if __name__ == "__main__":
    main()
