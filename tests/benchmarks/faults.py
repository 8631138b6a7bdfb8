"""`python -m tests.benchmarks.faults`: what happens to acknowledged work when every program is killed, and in a crowd.

On SQLite and on PostgreSQL in turn: `--kills` deaths by SIGKILL of server, workers, runners and children, before and
after each commit, claim, spawn, publication, report and fork, and then the comparison of what was acknowledged with
what is stored; and `--workers` workers that share `--trials` trials each, whose programs write of no lock.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.adapters.sql.migrating import upgrade
from tests.conftest import start_postgresql
from tests.journeys.crowd import Rush, rush
from tests.journeys.house import House, opened, settings_for
from tests.journeys.listening import Compiled, compiled_ring
from tests.journeys.mayhem import Mayhem, Toll

DATABASES = ("sqlite", "postgresql")


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of this kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'segue.db'}"
        return
    server = start_postgresql(folder)
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()


@contextmanager
def house(kind: str, compiled: Compiled) -> Iterator[House]:
    """A house of its own on a database of this kind."""
    with tempfile.TemporaryDirectory() as name, database(kind, Path(name)) as url:
        settings = settings_for(Path(name), compiled, database_url=url)
        upgrade(settings.database_url)
        with opened(settings, compiled) as found:
            yield found


def tell_toll(kind: str, toll: Toll) -> None:
    """Write who died where, and what was compared."""
    tell(
        f"\n{kind}: {sum(toll.deaths.values())} killed in {toll.seconds:.0f} s",
        *(f"  {program:8} {point:16} {n:4}" for (program, point), n in sorted(toll.deaths.items())),
        f"  {toll.n_studies} studies acknowledged, all stored and completed, none twice",
        f"  {toll.n_trials_told} trials shown to the client, {toll.n_reports} results acknowledged, all as stored",
        f"  {toll.n_attempts_lost} attempts lost and run again, no trial counted twice",
    )


def tell_rush(kind: str, done: Rush) -> None:
    """Write how quick the crowd was."""
    tell(
        f"\n{kind}: {done.n_trials} trials by {len(done.shares)} workers in {done.seconds:.0f} s",
        f"  {done.n_trials / done.seconds:.1f} trials a second, {', '.join(map(str, done.shares))} by each",
        "  no lock and no deadlock was told of, every trial was measured at its first attempt",
    )


def tell(*lines: str) -> None:
    """Write lines at once: the whole takes long."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run it and print the figures; ends with a traceback when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="deaths on each database (200)")
    parser.add_argument("--workers", type=int, default=8, help="workers of the crowd (8)")
    parser.add_argument("--trials", type=int, default=200, help="trials for each of them (200); 0 leaves the crowd out")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES, help="(both)")
    parser.add_argument("--seed", type=int, default=0, help="of the fates (0)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compiled = compiled_ring(Path(folder))
        for kind in given.databases:
            if given.kills:
                with house(kind, compiled) as found:
                    tell_toll(kind, Mayhem(found, n_kills=given.kills, seed=given.seed).run())
            if given.trials:
                with house(kind, compiled) as found:
                    n_trials = given.workers * given.trials
                    tell_rush(kind, rush(found, n_workers=given.workers, n_trials=n_trials, n_studies=4))


if __name__ == "__main__":
    main()
