"""Makes a dataset of files on this machine, without a server."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.progress import open as open_with_progress

from app.bootstrap import Container
from app.domain.datasets import Dataset, DatasetSpec, DatasetState, SourceReference
from app.domain.errors import InvalidSource, SegueError, TooLarge
from app.domain.listening import Preparation, Split
from app.services.idempotency import Replay

CHUNK_BYTES = 1 << 20
LOOK_AGAIN_S = 0.2

LONGEST_NAME = 200
"""Characters of a dataset's name."""

NO_WORKER_AFTER_S = 10.0
"""A dataset that waits longer than this has probably no worker."""

Made = TypeVar("Made")


class ImportFailed(SegueError):
    """The files do not become a dataset; the sentence says which and why."""

    code = "import_failed"


def store(
    container: Container,
    files: Mapping[str, Path],
    *,
    console: Console,
    name: str,
    preparation: Preparation,
    split: Split,
    segment_by: str | None,
) -> str:
    """The id of a new dataset of `files["plays"]` and, if given, `files["songs"]`. Raises: SegueError."""
    uploads = {subject: _uploaded(container, path, console=console) for subject, path in files.items()}
    dataset = container.datasets.create(
        DatasetSpec(
            name=name,
            plays=SourceReference(upload_id=uploads["plays"]),
            songs=SourceReference(upload_id=uploads["songs"]) if "songs" in uploads else None,
            preparation=preparation,
            split=split,
            segment_by=segment_by,
        )
    )
    return _made(dataset).id


def _uploaded(container: Container, path: Path, *, console: Console) -> str:
    limit_bytes = int(container.settings.max_upload_bytes)
    try:
        return _made(container.datasets.receive_upload(_chunks(path, console), limit_bytes=limit_bytes)).id
    except InvalidSource as error:
        raise ImportFailed(f"{path}: {error}") from error
    except TooLarge as error:
        raise ImportFailed(f"{path}: {error} SEGUE_MAX_UPLOAD_BYTES sets it.") from error


def _made(answer: Made | Replay) -> Made:
    if isinstance(answer, Replay):
        msg = "Without an idempotency key no answer is a replay."
        raise TypeError(msg)
    return answer


def _chunks(path: Path, console: Console) -> Iterator[bytes]:
    with open_with_progress(path, "rb", description=f"Storing {path.name}", console=console, transient=True) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def wait_for(
    container: Container, dataset_id: str, *, console: Console, no_worker_after_s: float = NO_WORKER_AFTER_S
) -> Dataset:
    """The dataset once it is ready. Raises: ImportFailed when its preparation failed."""
    asked_at_s = time.monotonic()
    is_warned = False
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("waiting for a worker", total=1.0)
        while (dataset := container.datasets.get(dataset_id)).state not in {DatasetState.READY, DatasetState.FAILED}:
            if dataset.progress is not None:
                progress.update(bar, description=dataset.progress.phase, completed=dataset.progress.fraction)
            elif not is_warned and time.monotonic() - asked_at_s > no_worker_after_s:
                console.print("No worker has taken it yet: is one running? Start one with 'segue work'.")
                is_warned = True
            time.sleep(LOOK_AGAIN_S)
    if dataset.failure is not None:
        raise ImportFailed(f"Dataset {dataset_id} could not be prepared: {dataset.failure.reason}")
    if dataset.statistics is not None:
        counts = dataset.statistics.overall
        console.print(f"Ready: {counts.plays:,} plays of {counts.songs:,} songs in {counts.sessions:,} sessions.")
    return dataset
