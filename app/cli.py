"""The command line `segue`: every command explains a user's mistake in a sentence and ends with 0, 1 or 2.

0 done, 1 it did not work, 2 the command was wrong. What a command makes goes to standard output, everything else to
standard error. Heavy modules are imported by the commands that need them, so that help is quick.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, cast

import typer

from app.domain.keys import LONGEST_NAME, Scope

if TYPE_CHECKING:
    from rich.console import Console

    from app.bootstrap import Container
    from app.config import Settings
    from app.domain.recommending import Seen

KEYS_AT_ONCE = 200
"""Keys read from the database at once."""

STOP_MARGIN_S = 3.0
"""How much longer than its grace period a worker is waited for."""


class Mistake(Exception):
    """The command cannot be carried out; the sentence says why and what to do."""


cli = typer.Typer(
    name="segue",
    help="Song embeddings that are tuned, promoted, served and proven in one system.",
    epilog="Settings are environment variables SEGUE_… or lines of a file .env; .env.example lists them.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _refuse(message: str) -> NoReturn:
    from rich.text import Text

    _console().print(Text.assemble(("Error: ", "bold red"), message))
    raise typer.Exit(1)


@contextmanager
def _explained() -> Iterator[None]:
    """A sentence instead of a traceback for what a user can mend."""
    from app.config import InvalidSettings
    from app.domain.errors import SegueError, Unavailable

    try:
        yield
    except Unavailable as error:
        reason = getattr(error.__cause__, "orig", None)
        _refuse(f"{error}" if reason is None else f"{error} {str(reason).strip()}")
    except (InvalidSettings, SegueError, Mistake) as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "."))


def _settings(*, host: str | None = None, port: int | None = None) -> "Settings":
    from app import log
    from app.config import load

    settings = load(host=host, port=port)
    log.configure(level=settings.log_level, log_format=settings.log_format)
    return settings


def _migrate(settings: "Settings") -> None:
    """Bring the database up to date. Raises: Mistake, Unavailable, StorageFull."""
    from sqlalchemy.exc import DatabaseError

    from app.adapters.sql.migrating import upgrade

    try:
        upgrade(settings.database_url)
    except DatabaseError as error:
        raise Mistake(f"The database cannot be used: {str(error.orig).strip()}.") from error


def _check_database(settings: "Settings") -> None:
    """Bring SQLite up to date; refuse a PostgreSQL database that is not. Raises: Mistake, Unavailable, StorageFull."""
    from app.adapters.sql.engine import create_engine
    from app.adapters.sql.migrating import is_current

    if settings.database_url.startswith("sqlite:"):
        _migrate(settings)
        return
    engine = create_engine(settings.database_url)
    try:
        if not is_current(engine):
            raise Mistake("The database lacks tables of this version: run 'segue migrate' first.")
    finally:
        engine.dispose()


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            installed = version("segue")
        except PackageNotFoundError:
            installed = "that is not installed"
        typer.echo(f"segue {installed}")
        raise typer.Exit


@cli.callback()
def segue(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Song embeddings that are tuned, promoted, served and proven in one system."""


# serve


@cli.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on instead of SEGUE_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port to listen on instead of SEGUE_PORT; 0: a free one.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Server processes that share the port.")] = 1,
    with_worker: Annotated[bool, typer.Option("--with-worker", help="Run a worker too: the whole in one.")] = False,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log every request.")] = False,
) -> None:
    """Run the API. A SQLite database is brought up to date first; PostgreSQL needs `segue migrate`."""
    with _explained():
        from app.keeper import WorkerKeeper
        from app.loading import loading
        from app.server import address_of, listening_socket, run

        settings = _settings(host=host, port=port)
        with listening_socket(settings.host, settings.port) as listener:
            with loading():
                _check_database(settings)
                _check_callers(settings)
            keeper = WorkerKeeper(grace_s=settings.grace_s + STOP_MARGIN_S) if with_worker else nullcontext()
            _stop_on_sigterm()
            _console().print(f"Segue listens on {address_of(listener)}, its API is described at /openapi.json")
            try:
                with keeper:
                    run(listener, processes=processes, access_log=access_log)
            except KeyboardInterrupt:
                return  # Ctrl-C is how a server at a desk is stopped


def _check_callers(settings: "Settings") -> None:
    """Say how to make a key when there is none. Raises: Mistake when others than this machine could call without."""
    from app.config import is_loopback

    if settings.auth == "off":
        _console().print("Whoever reaches this address may call: SEGUE_AUTH is off.", markup=False)
        return
    with _container(settings) as container:
        if container.keys.usable():
            return
    first = "segue keys create --name admin --scope admin"
    if not is_loopback(settings.host):
        raise Mistake(f"There is no API key, so nobody could call {settings.host}. Make one first: {first}")
    _console().print(f"There is no API key yet, so nobody may call. Make one: {first}", markup=False)


def _stop_on_sigterm() -> None:
    """Let SIGTERM unwind the stack: uvicorn raises it again after a clean stop, and a worker is to be stopped too."""
    import signal

    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))


# work


@cli.command()
def work(
    *,
    slots: Annotated[
        int | None,
        typer.Option(min=0, max=256, help="Pieces of work at once instead of SEGUE_WORKER_SLOTS; 0: one a core."),
    ] = None,
) -> None:
    """Run a worker: it prepares datasets, runs trials and builds models until it is stopped."""
    with _explained():
        settings = _settings()
        _check_database(settings)
        _become("worker", **({} if slots is None else {"SEGUE_WORKER_SLOTS": str(slots)}))


def _become(module: str, *arguments: str, **variables: str) -> NoReturn:
    """Go on as another module, with these variables set: `app` imports nothing of the worker's."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(  # noqa: S606 - our own module, no shell
        sys.executable, [sys.executable, "-m", module, *arguments], {**os.environ, **variables}
    )


# plan


@cli.command()
def plan(
    *, fresh: Annotated[bool, typer.Option("--fresh", help="Measure again, however busy the machine is.")] = False
) -> None:
    """Show how much work at once is best on this machine, as measured: what workers do without SEGUE_WORKER_SLOTS."""
    with _explained():
        _settings()
        _become("worker.planning", *(["--fresh"] if fresh else []))


# migrate


@cli.command()
def migrate() -> None:
    """Bring the database to the tables of this version."""
    with _explained():
        _migrate(_settings())
        _console().print("The database is up to date.")


# import


@cli.command(name="import")
def import_plays(
    *,
    plays: Annotated[Path, typer.Option(exists=True, dir_okay=False, readable=True, help="Plays: Parquet or CSV.")],
    name: Annotated[str, typer.Option(help="What to call the dataset.")],
    songs: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, readable=True, help="Songs: Parquet or CSV.")
    ] = None,
    segment_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the songs that segments sessions.")
    ] = None,
    session_gap_minutes: Annotated[int, typer.Option(help="Silence that ends a session.")] = 30,
    min_length: Annotated[int, typer.Option(help="Songs a session has at least.")] = 3,
    max_length: Annotated[int | None, typer.Option(help="Songs a session has at most.")] = None,
    min_song_plays: Annotated[int, typer.Option(help="Plays a song has at least.")] = 1,
    sample_fraction: Annotated[float, typer.Option(help="Share of the sessions or users that is kept.")] = 1.0,
    sample_by: Annotated[Literal["session", "user"], typer.Option(help="What is sampled.")] = "session",
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    query_in_training: Annotated[
        bool, typer.Option("--query-in-training", help="Let training see the query of each pair.")
    ] = False,
    repeats: Annotated[
        Literal["drop", "hit", "miss"], typer.Option(help="What a pair counts whose query is its target.")
    ] = "drop",
    test_fraction: Annotated[float, typer.Option(help="Share of the pairs kept for the test.")] = 0.3,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until a worker has prepared it.")] = False,
) -> None:
    """Make a dataset of a file of plays; prints its id. No server is needed; a worker prepares it."""
    with _explained():
        from app.domain.listening import Preparation, Repeats, Split
        from app.importing import LONGEST_NAME, store, wait_for

        if segment_by is not None and songs is None:
            raise typer.BadParameter("names a column of the songs table: give --songs too.", param_hint="--segment-by")
        if not 1 <= len(name.strip()) <= LONGEST_NAME:
            raise typer.BadParameter(f"must have 1 to {LONGEST_NAME} characters.", param_hint="--name")
        preparation = Preparation(
            session_gap_minutes=session_gap_minutes,
            min_length=min_length,
            max_length=max_length,
            min_song_plays=min_song_plays,
            sample_fraction=sample_fraction,
            sample_by=sample_by,
            seed=seed,
        )
        split = Split(query_in_training=query_in_training, repeats=Repeats(repeats), test_fraction=test_fraction)
        with _container() as container:
            files = {"plays": plays} if songs is None else {"plays": plays, "songs": songs}
            dataset_id = store(
                container,
                files,
                console=_console(),
                name=name.strip(),
                preparation=preparation,
                split=split,
                segment_by=segment_by,
            )
            typer.echo(dataset_id)
            if wait:
                wait_for(container, dataset_id, console=_console())


@contextmanager
def _container(settings: "Settings | None" = None) -> Iterator["Container"]:
    """The services; on the environment's settings and a database that is up to date, where none are given."""
    from app.bootstrap import Container

    if settings is None:
        settings = _settings()
        _check_database(settings)
    container = Container(settings)
    try:
        yield container
    finally:
        container.stop()


# keys

keys = typer.Typer(help="API keys: who may call, and what for.", no_args_is_help=True)
cli.add_typer(keys, name="keys")


@keys.command(name="create")
def create_key(
    *,
    name: Annotated[str, typer.Option(help="What to call the key: who has it.")],
    scope: Annotated[
        list[Scope], typer.Option(help="What it is for; may be given several times. 'admin' is for everything.")
    ],
) -> None:
    """Make a key and print it: it is told this once. Servers know it within two seconds."""
    with _explained():
        if not 1 <= len(name.strip()) <= LONGEST_NAME or not name.isprintable():
            raise typer.BadParameter(f"must have 1 to {LONGEST_NAME} printable characters.", param_hint="--name")
        with _container() as container:
            made = container.keys.create(name=name.strip(), scopes=list(dict.fromkeys(scope)))
        typer.echo(made.written)
        _console().print(f"Keep it now: only a hash of it is stored. To end its use: segue keys revoke {made.key.id}")


@keys.command(name="list")
def list_keys() -> None:
    """Print every key that was made, the newest first: id, name, scopes, when it was made, last used and revoked."""
    with _explained(), _container() as container:
        cursor = None
        while True:
            page = container.keys.list(limit=KEYS_AT_ONCE, cursor=cursor)
            for key in page.rows:
                instants = (key.created_at, key.last_used_at, key.revoked_at)
                shown = ("-" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in instants)
                typer.echo("\t".join((key.id, key.name, ",".join(key.scopes), *shown)))
            cursor = page.next_cursor
            if cursor is None:
                return


@keys.command(name="revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, key_…; 'segue keys list' shows it.")],
) -> None:
    """End the use of a key for good. Servers know within two seconds."""
    with _explained(), _container() as container:
        key = container.keys.revoke(key_id)
        _console().print(f"Nobody can use {key.name!r} any more.", markup=False)


# recommend


@cli.command()
def recommend(
    *,
    users: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, readable=True, help="Users: Parquet or CSV with a column user_id, or a list."
        ),
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Where the recommendations go, as Parquet.")],
    alias: Annotated[str, typer.Option(help="Whose model answers.")] = "production",
    k: Annotated[int, typer.Option(help="Songs for each user.")] = 10,
    half_life_days: Annotated[float | None, typer.Option(help="Days after which a play weighs half.")] = None,
    history_length: Annotated[int | None, typer.Option(help="Last plays that count.")] = None,
    mmr_lambda: Annotated[float | None, typer.Option(help="1: by score alone; less: more diverse.")] = None,
    exclude_seen: Annotated[
        str | None, typer.Option(help="Songs heard that are left out: recent, none, all, or a number of days.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="COLUMN=VALUE", help="Only songs with this value; of a column several may be given."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="SONG_ID", help="A song that nobody gets; may be given several times.")
    ] = None,
    max_per_artist: Annotated[int | None, typer.Option(help="Songs of one artist for each user at most.")] = None,
) -> None:
    """Recommend songs for all users of a file. No server is needed; what is written is there whole or not at all."""
    with _explained():
        from app.domain.filtering import SongFilter
        from app.nightly import recommend as recommend_all

        if not out.parent.is_dir():
            raise typer.BadParameter(f"there is no folder {out.parent}.", param_hint="--out")
        if exclude_seen not in {None, "recent", "none", "all"} and not str(exclude_seen).isdecimal():
            raise typer.BadParameter("must be recent, none, all, or a number of days.", param_hint="--exclude-seen")
        wanted = SongFilter.parsed(where or (), exclude=exclude or (), max_per_artist=max_per_artist)
        with _container() as container:
            found = recommend_all(
                container,
                users,
                out,
                alias=alias,
                console=_console(),
                wanted=wanted,
                wishes={
                    "k": k,
                    "half_life_days": half_life_days,
                    "history_length": history_length,
                    "mmr_lambda": mmr_lambda,
                    "exclude_seen": _seen(exclude_seen),
                },
            )
            left_out = f", {found.n_refused:,} left out" if found.n_refused else ""
            _console().print(f"{found.n_songs:,} songs for {found.n_users:,} users{left_out}, by {found.model_id}.")
            typer.echo(out)


def _seen(text: str | None) -> "Seen | None":
    match text:
        case None | "recent" | "none" | "all":
            return cast("Seen | None", text)
        case _:
            return int(text)


# simulate


@cli.command()
def simulate(
    *,
    users: Annotated[int, typer.Option(min=1, max=10_000_000, help="Listeners.")] = 1_000,
    effect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LANGUAGE=LIFT",
            help="What the treatment changes, as ar=0.1: ten percent more songs, and so seconds, a session. Also "
            "ar.sessions=…, ar.skipped=… and ar.recommended=…; may be given several times.",
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LANGUAGE=SHARE", help="Listeners by language; en=0.8 and ar=0.2, or the service's songs."
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="Days of the experiment.")] = 14,
    days_before: Annotated[int, typer.Option(min=0, max=365, help="Days heard before it.")] = 14,
    traffic: Annotated[float, typer.Option(min=0, max=1, help="Share of the listeners in the experiment.")] = 1.0,
    lost: Annotated[
        float, typer.Option(min=0, max=1, help="Sample-ratio fault: share of the treatment's exposures not recorded.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same listeners.")] = 0,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for songs, plays and exposures; made if absent.")
    ] = None,
    table_format: Annotated[Literal["parquet", "csv"], typer.Option("--format", help="Of the files.")] = "parquet",
    url: Annotated[str | None, typer.Option(help="A running service to listen to instead.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="SEGUE_KEY", help="Its API key: scopes read, serve and events.")
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="The running experiment whose lists are asked for.")] = None,
    column: Annotated[str, typer.Option(help="Column of the service's songs that holds the language.")] = "language",
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="Tell a user's day as heard just now, in one session: results need no waiting for."
        ),
    ] = False,
) -> None:
    """Simulate listeners with known tastes: into files, or as users of a running service and its experiment.

    With --url, what was heard before is sent, each listener asks for recommendations, and hears for a day: a service
    takes no plays of later. Assignment and exposures are its own, and nothing but exposures and plays is made.
    """
    if (out is None) == (url is None):
        raise typer.BadParameter("give either --out or --url.", param_hint="--out")
    if url is not None and (key is None or experiment is None):
        raise typer.BadParameter("needs --key and --experiment.", param_hint="--url")
    with _explained():
        from app.simulation.command import Asked, simulated_files, simulated_users

        asked = Asked(
            users=users,
            effects=effect or [],
            languages=language or [],
            days=days,
            days_before=days_before,
            traffic=traffic,
            lost=lost,
            seed=seed,
        )
        if out is not None:
            typer.echo(simulated_files(asked, out, kind=table_format, console=_console()))
        else:
            simulated_users(
                asked,
                url=str(url),
                key=str(key),
                experiment_id=str(experiment),
                column=column,
                at_once=at_once,
                console=_console(),
            )


# demo


@cli.command()
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running at the end.")] = False,
    n_initial: Annotated[int, typer.Option(min=1, max=1000, help="Random trials at the study's start.")] = 5,
    n_iterations: Annotated[int, typer.Option(min=0, max=1000, help="Trials chosen by what was seen.")] = 19,
    parallelism: Annotated[int | None, typer.Option(min=1, max=256, help="Trials at once; one a core.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(file_okay=False, help="Where the demo keeps its files; a temporary folder.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the demo's service.")] = 8000,
) -> None:
    """From raw plays to a tuned, promoted, served model, through the public API on real listening."""
    with _explained():
        from app.demo.journey import run

        code = run(
            keep=keep,
            n_initial=n_initial,
            n_iterations=n_iterations,
            parallelism=parallelism,
            data_dir=data_dir,
            port=port,
        )
    raise typer.Exit(code)


def main() -> None:
    """The console script."""
    cli(prog_name="segue")


if __name__ == "__main__":
    main()
