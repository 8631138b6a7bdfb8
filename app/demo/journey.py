"""The whole loop in one command: plays in, a study watched, the best model promoted, songs and listeners answered."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.demo import tables
from app.demo.client import Client, Json, in_path
from app.demo.service import DemoFailed, Service, start, stop

LISTENING = Path(__file__).with_name("data") / "lastfm_three"
WELL_KNOWN = "As We Float"
"""The set's most played song, by The American Dollar."""

LISTENER = "listener-1"
ALIAS = "production"

DATASET_LIMIT_S = 300.0
STUDY_LIMIT_S = 6 * 3600.0
MODEL_LIMIT_S = 600.0
TRIALS_SHOWN = 12

OVER = frozenset({"ready", "failed", "completed", "cancelled"})


@dataclass
class Stopwatch:
    """Seconds by phase, in their order."""

    phases: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        yield
        self.phases.append((name, time.perf_counter() - started))


def run(
    *, keep: bool, n_initial: int, n_iterations: int, parallelism: int | None, data_dir: Path | None, port: int
) -> int:
    """Run the demo; gives the exit code. Without `keep` the service and its temporary folder are gone at the end."""
    console = Console()
    with ExitStack() as stack:
        if data_dir is not None:
            folder = data_dir.absolute()
            folder.mkdir(parents=True, exist_ok=True)
        elif keep:
            folder = Path(tempfile.mkdtemp(prefix="segue-demo-"))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segue-demo-")))
        cores = parallelism or os.cpu_count() or 1
        try:
            _journey(console, stack, folder=folder, port=port, cores=cores, keep=keep, sizes=(n_initial, n_iterations))
        except DemoFailed as error:
            console.print(f"[red]The demo cannot go on.[/] {error}", highlight=False)
            return 1
    return 0


def _journey(
    console: Console,
    stack: ExitStack,
    *,
    folder: Path,
    port: int,
    cores: int,
    keep: bool,
    sizes: tuple[int, int],
) -> None:
    watch = Stopwatch()
    console.rule("[bold]Segue[/]: from raw plays to a tuned, promoted, served model")
    with watch.phase("start the service"), console.status("Starting the API and a worker on SQLite …"):
        service = start(data_dir=folder, port=port, slots=cores)
    is_kept = ExitStack()
    is_kept.callback(stop, service)
    with is_kept:
        client = Client(service.url, key=service.key)
        stack.callback(client.close)
        console.print(f"The API answers at {service.url}, its description under /openapi.json.")
        console.print(f"The demo's key is {service.key}", highlight=False, soft_wrap=True, markup=False)
        with watch.phase("import and prepare the plays"):
            dataset = _dataset(console, client)
        with watch.phase(f"study ({sum(sizes)} trials and the baselines)"):
            study = _study(console, client, dataset_id=dataset["id"], parallelism=cores, sizes=sizes)
        _show_results(console, study)
        with watch.phase("promote the best and load it"):
            _promote(console, client, study_id=study["id"])
        song = _show_answers(console, client)
        console.print(tables.of_times(watch.phases))
        if keep:
            is_kept.pop_all()
    _say_goodbye(console, service, song_id=song, study_id=study["id"], keep=keep)


def _dataset(console: Console, client: Client) -> Json:
    console.rule("1. Plays become a dataset", align="left")
    with console.status("Uploading …") as status:
        plays = client.upload(LISTENING / "plays.parquet")
        songs = client.upload(LISTENING / "songs.parquet")
        created = client.post(
            "/v1/datasets",
            {"name": "three listeners", "plays": {"upload_id": plays}, "songs": {"upload_id": songs}},
        )

        def see(resource: Json) -> None:
            progress = resource["progress"] or {"phase": "waiting", "fraction": 0.0}
            status.update(f"Preparing: {progress['phase']} {progress['fraction']:.0%}")

        dataset = client.until(
            f"/v1/datasets/{created['id']}",
            lambda resource: resource["state"] in OVER,
            see=see,
            limit_s=DATASET_LIMIT_S,
        )
    console.print(tables.of_dataset(dataset["statistics"]))
    return dataset


def _study(console: Console, client: Client, *, dataset_id: str, parallelism: int, sizes: tuple[int, int]) -> Json:
    console.rule("2. A study tunes Word2Vec on it", align="left")
    n_initial, n_iterations = sizes
    created = client.post(
        "/v1/studies",
        {
            "name": "the article's study",
            "dataset_id": dataset_id,
            "n_initial": n_initial,
            "n_iterations": n_iterations,
            "parallelism": parallelism,
        },
    )
    path = f"/v1/studies/{created['id']}"
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    bar = progress.add_task("study", total=1.0, eta="")
    with Live(progress, console=console, refresh_per_second=4) as live:

        def see(study: Json) -> None:
            eta = study["eta_s"]
            progress.update(
                bar, completed=study["progress"]["fraction"], eta="" if eta is None else f"about {eta:.0f} s to go"
            )
            trials = client.trials(study["id"])
            live.update(Group(tables.of_trials(trials, best_id=study["best_trial_id"], last=TRIALS_SHOWN), progress))

        study = client.until(path, lambda resource: resource["state"] in OVER, see=see, limit_s=STUDY_LIMIT_S)
        live.update(Group(tables.of_trials(client.trials(study["id"]), best_id=study["best_trial_id"]), progress))
    return study


def _show_results(console: Console, study: Json) -> None:
    console.rule("3. The winner beside what it has to beat", align="left")
    console.print(tables.of_results(study["confirmation"], study["baselines"]))
    better = tables.winning_plain_baseline(study["confirmation"], study["baselines"])
    if better is not None:
        console.print(
            f"The best plain count, {better}, finds the next song more often than the best point of the article's "
            "space: listeners who play album by album are easily predicted by counting. Segue shows both."
        )


def _promote(console: Console, client: Client, *, study_id: str) -> None:
    console.rule("4. The best is promoted and served", align="left")
    with console.status("Building the model …") as status:
        model = client.post(f"/v1/studies/{study_id}/promote", {"alias": ALIAS, "fit": "trial"})
        client.until(
            f"/v1/models/{model['id']}",
            lambda resource: resource["state"] in OVER,
            see=lambda resource: status.update(f"Building the model: {resource['state']}"),
            limit_s=MODEL_LIMIT_S,
        )
        deadline = time.monotonic() + MODEL_LIMIT_S
        while not client.is_live(ALIAS, model["id"]):
            if time.monotonic() > deadline:
                raise DemoFailed(f"Model {model['id']} is ready, but the server did not load it.")
            time.sleep(0.1)
    console.print(f"Model {model['id']} is live as {ALIAS!r}.")


def _show_answers(console: Console, client: Client) -> str:
    found = client.get("/v1/songs", query=WELL_KNOWN, limit=1)["items"]
    if not found:
        raise DemoFailed(f"The model knows no song named {WELL_KNOWN!r}.")
    song = found[0]
    neighbours = client.get(f"/v1/songs/{in_path(song['song_id'])}/neighbours", k=10)["neighbours"]
    title = f"The ten songs nearest to {song['title']} by {song['artist']}"
    console.print(tables.of_songs(neighbours, title=title))
    answer = client.get(f"/v1/users/{in_path(LISTENER)}/recommendations", k=10)
    console.print(tables.of_songs(answer["recommendations"], title=f"Ten recommendations for {LISTENER}"))
    return str(song["song_id"])


def _say_goodbye(console: Console, service: Service, *, song_id: str, study_id: str, keep: bool) -> None:
    console.rule("Go on", align="left")
    if keep:
        console.print("The service keeps running. Try:")
    else:
        console.print("The service was stopped; [bold]make demo ARGS=--keep[/] leaves it running for:")
    url = service.url
    lines = [
        f"export SEGUE_KEY={service.key}",
        """alias curl='curl -H "Authorization: Bearer $SEGUE_KEY"'""",
        f"curl '{url}/v1/songs?query=american+dollar'",
        f"curl '{url}/v1/songs/{song_id}/neighbours?k=10'",
        f"curl '{url}/v1/users/{LISTENER}/recommendations?k=10'",
        f"curl '{url}/v1/studies/{study_id}'",
        f"curl '{url}/v1/aliases/{ALIAS}/history'",
        f"curl -X POST '{url}/v1/plays' -H 'Content-Type: application/json' "
        f'-d \'{{"plays": [{{"event_id": "e1", "user_id": "me", "song_id": "{song_id}", '
        '"played_at": "2026-01-01T12:00:00Z"}]}\'',
        f"curl '{url}/v1/users/me/recommendations'",
    ]
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    if keep:
        console.print(f"Stop it with: kill {service.leader.pid}   (its files: {service.log.parent})", highlight=False)
