"""Recommends songs for the users of a file, without a server: `segue recommend`."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.bootstrap import Container
from app.domain.errors import SegueError
from app.domain.filtering import SongFilter
from app.domain.recommending import Wishes
from app.domain.serving import BatchAnswer, RecommendationsAnswer, UserRefused
from app.services.recommending import EVERY_SONG, MAX_USERS_PER_BATCH

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("song_id", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("basis", pa.string(), nullable=False),
        pa.field("attribution", pa.string(), nullable=False),
    ]
)
"""One row a song, users in the order of the file, songs best first from rank 1; a popular song has no score."""

USERS = "user_id"

PARQUET = b"PAR1"


class RecommendFailed(SegueError):
    """The users are not recommended anything; the sentence says why."""

    code = "recommend_failed"


@dataclass(frozen=True, slots=True)
class Recommended:
    """What was written: users answered, users refused, songs, and the model that answered."""

    n_users: int
    n_refused: int
    n_songs: int
    model_id: str


def recommend(
    container: Container,
    users: Path,
    out: Path,
    *,
    alias: str,
    console: Console,
    wanted: SongFilter = EVERY_SONG,
    wishes: Wishes | None = None,
) -> Recommended:
    """Write recommendations for the users of a file (Parquet, CSV with a column user_id, or one id a line) as Parquet.

    Users are read and songs written a thousand users at a time; the file is there whole or not at all. One model
    answers all. Raises: SegueError, RecommendFailed.
    """
    container.live.look()
    live = container.live.get(alias)
    total = n_users_of(users)
    n_users = n_refused = n_songs = 0
    with _whole(out) as partial, _bar(console, total) as advance, pq.ParquetWriter(partial, SCHEMA) as file:
        for some in batches_of(users):
            answer = container.recommending.recommendations_of(some, alias=alias, wanted=wanted, **(wishes or {}))
            if answer.model_id != live.model.model_id:
                raise RecommendFailed("Another model went live meanwhile: start again.")
            table, refused = _table(answer)
            file.write_table(table)
            n_users += len(some) - len(refused)
            n_refused += len(refused)
            n_songs += table.num_rows
            for one in refused[: max(0, 5 - n_refused + len(refused))]:
                console.print(f"User {one.user_id[:80]!r} is left out: {one.detail}")
            advance(len(some))
    return Recommended(n_users, n_refused, n_songs, live.model.model_id)


def _table(answer: BatchAnswer) -> tuple[pa.Table, list[UserRefused]]:
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    refused: list[UserRefused] = []
    for of_user in answer.answers:
        if isinstance(of_user, UserRefused):
            refused.append(of_user)
            continue
        n_songs = len(of_user.recommendations)
        columns["user_id"] += [of_user.user_id] * n_songs
        columns["rank"] += range(1, n_songs + 1)
        columns["song_id"] += [song["song_id"] for song in of_user.recommendations]
        columns["score"] += [song["score"] for song in of_user.recommendations]
        columns["basis"] += _bases(of_user)
        columns["attribution"] += [of_user.attribution] * n_songs
    return pa.table(columns, schema=SCHEMA), refused


def _bases(answer: RecommendationsAnswer) -> list[str]:
    return [step["basis"] for step in answer.steps for _ in range(step["n_songs"])]


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A name beside `out` to write to; it becomes `out` at the end, and is removed when the end is not reached."""
    descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_umask())
        partial.replace(out)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextmanager
def _bar(console: Console, total: int | None) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("Recommending", total=total)
        yield lambda n: progress.update(bar, advance=n)


# The users


def n_users_of(path: Path) -> int | None:
    """How many there are, where the file says; None where it would have to be read."""
    return pq.read_metadata(path).num_rows if _is_parquet(path) else None


def batches_of(path: Path, *, size: int = MAX_USERS_PER_BATCH) -> Iterator[list[str]]:
    """The users, up to `size` at a time. Raises: RecommendFailed."""
    found: list[str] = []
    try:
        for some in _read(path):
            found += some
            while len(found) >= size:
                yield found[:size]
                found = found[size:]
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise RecommendFailed(f"{path} cannot be read: {error}") from error
    if found:
        yield found


def _read(path: Path) -> Iterator[list[str]]:
    if _is_parquet(path):
        with pq.ParquetFile(path) as file:
            _demand_users(path, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=MAX_USERS_PER_BATCH, columns=[USERS]):
                yield _texts(batch.column(0))
    elif path.suffix.lower() == ".csv":
        options = pa_csv.ConvertOptions(include_columns=[USERS], column_types={USERS: pa.string()})
        with pa_csv.open_csv(path, convert_options=_checked(path, options)) as reader:
            for batch in reader:
                yield _texts(batch.column(0))
    else:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if text := line.rstrip("\r\n"):
                    yield [text]


def _checked(path: Path, options: pa_csv.ConvertOptions) -> pa_csv.ConvertOptions:
    with path.open(encoding="utf-8") as file:
        header = pa_csv.read_csv(pa.BufferReader(file.readline().encode())).schema.names
    _demand_users(path, header)
    return options


def _demand_users(path: Path, names: Sequence[str]) -> None:
    if USERS not in names:
        raise RecommendFailed(f"{path} has no column {USERS!r}; it has: {', '.join(names[:20])}.")


def _texts(column: pa.Array) -> list[str]:
    """The ids as text; an empty place is an empty id, which is refused by itself."""
    return [text or "" for text in column.cast(pa.string()).to_pylist()]


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET
