"""What an overloaded server does: `python -m tests.benchmarks.overload [--seconds 20] [--route recommendations]`.

The real application in one process is driven by another over keep-alive connections. It prints

    capacity       requests a second in a closed loop
    unloaded       50th and 99th percentile of the times at half of that, open loop
    overloaded     the same of those admitted at twice the capacity, and the share shed (target: p99 at most twice
                   the unloaded)
    recovery       seconds of half the load, after the overload, until one second passes in which nothing is shed and
                   p99 is at most twice the unloaded (target: at most 5)
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np

from tests.benchmarks.driving import Driver, answer_drives, part_of, told_port
from tests.benchmarks.model import N_USERS, publish_model, song_id, user_id
from tests.benchmarks.serving import N_PATHS, prepared, serve
from tests.keys import HEADERS

MODULE = "tests.benchmarks.overload"
ROUTES = ("recommendations", "neighbours")
DIM = 100
CLOSED_CONNECTIONS = 8
OPEN_CONNECTIONS = 256
RECOVERED_WITHIN_S = 30.0


def main() -> None:
    """Print one line a figure, or take one of the two other parts: the server or the driver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of overload; half of it of half the load")
    parser.add_argument("--route", choices=ROUTES, default=ROUTES[0])
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve, n_songs=given.songs, dim=DIM, others=())
    elif given.drive is not None:
        answer_drives(given.drive, HEADERS)
    else:
        with tempfile.TemporaryDirectory() as folder:
            publish_model(prepared(Path(folder)), n_songs=given.songs, dim=DIM)
            with part_of(MODULE, "--serve", folder, "--songs", given.songs) as server:
                port = told_port(server)
                with part_of(MODULE, "--drive", port) as driver:
                    measure(Driver(driver), _paths(given.route, given.songs), seconds=given.seconds)
        print(f"{given.route}; {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


def measure(driver: Driver, paths: list[str], *, seconds: float) -> None:
    """Drive at capacity, at half, at twice, and at half again."""
    driver.closed(paths, seconds=2, connections=CLOSED_CONNECTIONS)
    capacity = driver.closed(paths, seconds=5, connections=CLOSED_CONNECTIONS).requests_per_s
    print(f"capacity      {capacity:.0f} requests a second")
    unloaded = driver.open(
        paths, seconds=max(seconds / 2, 1), connections=OPEN_CONNECTIONS, rate=capacity / 2, may_shed=True
    )
    print(f"unloaded      p50 {unloaded.p50_ms:.1f} ms, p99 {unloaded.p99_ms:.1f} ms, {unloaded.n_shed} shed")
    twice = driver.open(paths, seconds=seconds, connections=OPEN_CONNECTIONS, rate=2 * capacity, may_shed=True)
    share = twice.n_shed / (twice.n_shed + twice.n_requests)
    print(
        f"overloaded    p50 {twice.p50_ms:.1f} ms, p99 {twice.p99_ms:.1f} ms: {twice.p99_ms / unloaded.p99_ms:.1f} "
        f"times the unloaded (target <= 2); {share:.0%} shed, {twice.requests_per_s:.0f} admitted a second, "
        f"driver busy {twice.driver_share:.0%}"
    )
    began_s = time.perf_counter()
    while (passed_s := time.perf_counter() - began_s) < RECOVERED_WITHIN_S:
        second = driver.open(paths, seconds=1, connections=OPEN_CONNECTIONS, rate=capacity / 2, may_shed=True)
        if second.n_shed == 0 and second.p99_ms <= 2 * unloaded.p99_ms:
            print(f"recovery      {passed_s:.0f} s (target <= 5)")
            return
    print(f"recovery      not within {RECOVERED_WITHIN_S:.0f} s")


def _paths(route: str, n_songs: int) -> list[str]:
    rng = np.random.default_rng(0)
    if route == "neighbours":
        return [f"/v1/songs/{quote(song_id(song))}/neighbours?k=10" for song in rng.integers(0, n_songs, N_PATHS)]
    return [f"/v1/users/{quote(user_id(user))}/recommendations?k=10" for user in rng.integers(0, N_USERS, N_PATHS)]


if __name__ == "__main__":
    main()
