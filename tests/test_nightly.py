"""Recommendations for a file of users: from whatever the file is, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from app.cli import cli
from app.domain.errors import NothingLive, Unavailable
from app.domain.filtering import SongFilter
from app.nightly import Recommended, RecommendFailed, batches_of, recommend
from tests.api.world import World, container_on, world_on

IDS = ["u", "stranger", "schön,🎵"]


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    container = container_on(sqlite_url, tmp_path / "store")
    with world_on(container) as world:
        yield world


def parquet(path: Path, ids: list[str | None]) -> Path:
    pq.write_table(pa.table({"n": range(len(ids)), "user_id": ids}), path, row_group_size=2)
    return path


def csv(path: Path, ids: list[str | None]) -> Path:
    pa_csv.write_csv(pa.table({"n": range(len(ids)), "user_id": ids}), path)
    return path


def listed(path: Path, ids: list[str | None]) -> Path:
    path.write_text("".join(f"{user_id}\n" for user_id in ids) + "\n", encoding="utf-8")
    return path


def run(world: World, users: Path, out: Path, **changes: object) -> Recommended:
    quiet = Console(quiet=True)
    return recommend(world.container, users, out, alias="production", console=quiet, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("written", [parquet, csv, listed])
def test_each_user_gets_what_one_alone_would_in_the_order_of_the_file(
    world: World, tmp_path: Path, written: object
) -> None:
    model_id = world.built_model()
    users = written(tmp_path / ("users.csv" if written is csv else "users"), IDS)  # type: ignore[operator]

    found = run(world, users, tmp_path / "recs.parquet", wishes={"k": 2})

    assert found == Recommended(n_users=3, n_refused=0, n_songs=6, model_id=model_id)
    rows = pq.read_table(tmp_path / "recs.parquet").to_pylist()
    assert [(row["user_id"], row["rank"]) for row in rows] == [(user_id, rank) for user_id in IDS for rank in (1, 2)]
    alone = world.client.get("/v1/users/u/recommendations", params={"k": 2}).json()["recommendations"]
    assert [(row["song_id"], round(row["score"], 5)) for row in rows[:2]] == [
        (song["song_id"], round(song["score"], 5)) for song in alone
    ]
    assert [row["basis"] for row in rows] == ["profile"] * 2 + ["popular"] * 4
    assert rows[2]["score"] is None


def test_only_songs_that_are_wanted(world: World, tmp_path: Path) -> None:
    world.built_model()
    wanted = SongFilter.parsed((), exclude=["a"], max_per_artist=1)

    run(world, listed(tmp_path / "users", ["stranger"]), tmp_path / "recs.parquet", wanted=wanted)

    songs = pq.read_table(tmp_path / "recs.parquet").column("song_id").to_pylist()
    assert songs == ["b", "AC/DC", "AC/neighbours", "schön 🎵?#%"]  # Alpha's artist has Beta too
    wanted = SongFilter.parsed(["language=ar"])
    run(world, listed(tmp_path / "users", ["stranger"]), tmp_path / "recs.parquet", wanted=wanted)
    assert pq.read_table(tmp_path / "recs.parquet").column("song_id").to_pylist() == ["a"]


def test_more_users_than_are_answered_at_once_and_some_that_are_none(world: World, tmp_path: Path) -> None:
    world.built_model()
    ids: list[str | None] = [f"u{number}" for number in range(2_500)]
    ids[700] = ids[2_400] = None

    found = run(world, parquet(tmp_path / "users", ids), tmp_path / "recs.parquet", wishes={"k": 1})

    assert (found.n_users, found.n_refused, found.n_songs) == (2_498, 2, 2_498)
    written = pq.ParquetFile(tmp_path / "recs.parquet")
    assert written.num_row_groups == 3
    assert (tmp_path / "recs.parquet").stat().st_mode & 0o777 == 0o644


def test_what_breaks_off_leaves_the_file_of_before_and_nothing_else(world: World, tmp_path: Path) -> None:
    world.built_model()
    out = tmp_path / "out" / "recs.parquet"
    out.parent.mkdir()
    out.write_bytes(b"of yesterday")
    users = tmp_path / "users.txt"
    users.write_bytes(b"u\n" * 1_500 + b"\xff\n")

    with pytest.raises(RecommendFailed):
        run(world, users, out)

    assert out.read_bytes() == b"of yesterday"
    assert list(out.parent.iterdir()) == [out]


def test_with_the_database_away_nothing_is_written(world: World, tmp_path: Path) -> None:
    world.built_model()
    world.container.engine.dispose()
    database = Path(str(world.container.engine.url.database))
    database.rename(database.with_suffix(".away"))
    database.mkdir()

    with pytest.raises(Unavailable):
        run(world, listed(tmp_path / "users", ["u"]), tmp_path / "recs.parquet")

    assert not (tmp_path / "recs.parquet").exists()


def test_without_a_model_nothing_is_written(world: World, tmp_path: Path) -> None:
    with pytest.raises(NothingLive):
        run(world, listed(tmp_path / "users", ["u"]), tmp_path / "recs.parquet")


def test_a_table_without_users_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["u"]}), tmp_path / "a.parquet")
    pa_csv.write_csv(pa.table({"id": ["u"]}), tmp_path / "b.csv")
    for path in (tmp_path / "a.parquet", tmp_path / "b.csv"):
        with pytest.raises(RecommendFailed, match="no column 'user_id'; it has: id"):
            list(batches_of(path))


def test_numbers_are_ids_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": [7, 8]}), tmp_path / "users")

    assert list(batches_of(tmp_path / "users")) == [["7", "8"]]


def test_an_empty_file_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "users").touch()

    assert list(batches_of(tmp_path / "users")) == []


@pytest.mark.parametrize(
    ("options", "exit_code", "problem"),
    [
        (["--exclude-seen", "some"], 2, "--exclude-seen"),
        (["--out", "none/recs.parquet"], 2, "--out"),
        (["--filter", "ar"], 1, "column=value"),
        (["--max-per-artist", "0"], 1, "between 1 and 100"),
    ],
)
def test_the_command_explains_what_is_wrong(tmp_path: Path, options: list[str], exit_code: int, problem: str) -> None:
    users = str(listed(tmp_path / "users", ["u"]))
    found = CliRunner().invoke(cli, ["recommend", "--users", users, "--out", str(tmp_path / "recs.parquet"), *options])
    assert found.exit_code == exit_code
    assert problem in found.output
