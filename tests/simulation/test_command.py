"""`segue simulate`: files that the service can take, and sentences for what cannot be."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from app.cli import cli
from app.domain.attribution import parsed
from app.simulation.command import lifts, shares
from app.simulation.files import write
from app.simulation.listeners import Effect, Language
from app.simulation.rows import EXPOSURES, PLAYS, SONGS
from app.simulation.scenario import Scenario


def simulate(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, arguments)])


def test_effects_and_languages_are_read() -> None:
    assert lifts(["ar=0.1", "ar.skipped=-0.2", "a.b=1"]) == {
        "ar": Effect(songs=0.1, skipped=-0.2),
        "a.b": Effect(songs=1.0),
    }
    assert shares(["ar=0.2", "en=0.8"]) == (Language(name="ar", share=0.2), Language(name="en", share=0.8))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_songs_plays_and_exposures_are_written(kind: str, tmp_path: Path) -> None:
    done = simulate("--users", 40, "--days", 2, "--days-before", 1, "--out", tmp_path / "new", "--format", kind)
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'new'}\n")
    assert "40 listeners" in done.stderr
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"{name}.{kind}" for name in ("exposures", "plays", "songs")
    ]
    read = pq.read_table if kind == "parquet" else pa_csv.read_csv
    for name, schema in (("plays", PLAYS), ("exposures", EXPOSURES), ("songs", SONGS)):
        table: pa.Table = read(tmp_path / "new" / f"{name}.{kind}")
        assert table.column_names == schema.names
        assert table.num_rows > 0
        if kind == "parquet":
            assert table.schema.equals(schema)


def test_only_recommended_plays_carry_a_token_that_names_the_variant_heard(tmp_path: Path) -> None:
    assert simulate("--users", 200, "--days", 3, "--days-before", 1, "--out", tmp_path).exit_code == 0
    plays = pq.read_table(tmp_path / "plays.parquet")
    exposures = {row["user_id"]: row for row in pq.read_table(tmp_path / "exposures.parquet").to_pylist()}
    assert len(set(plays.column("event_id").to_pylist())) == plays.num_rows
    assert 0.1 < pc.mean(plays.column("attribution").is_valid()).as_py() < 0.6
    live = {"control": "exp_simulated-1", "treatment": "exp_simulated-2"}
    n_inside = 0
    for play in plays.filter(plays.column("attribution").is_valid()).to_pylist():
        exposure = exposures.get(play["user_id"])
        is_inside = exposure is not None and exposure["exposed_at"] <= play["played_at"]
        n_inside += is_inside
        expected = live[exposure["variant"]] if is_inside and exposure is not None else "production"
        assert parsed(play["attribution"]).alias == expected
    assert n_inside > 0


def test_listeners_beyond_those_held_in_memory_are_others(tmp_path: Path) -> None:
    scenario = Scenario(n_users=150, days=2, days_before=1)
    write(scenario, tmp_path, kind="parquet", console=Console(quiet=True), users_at_once=60)
    plays = pq.read_table(tmp_path / "plays.parquet")
    numbers = {int(user.removeprefix("user-")) for user in plays.column("user_id").to_pylist()}
    assert max(numbers) < 150
    assert all(numbers & set(range(start, start + 50)) for start in (0, 50, 100))
    assert len(set(plays.column("event_id").to_pylist())) == plays.num_rows
    exposed = pq.read_table(tmp_path / "exposures.parquet").column("user_id").to_pylist()
    assert len(set(exposed)) == len(exposed)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "either --out or --url"),
        (["--out", "x", "--url", "http://localhost:1"], 2, "either --out or --url"),
        (["--url", "http://localhost:1"], 2, "needs --key and --experiment"),
        (["--out", "x", "--effect", "ar"], 1, "is no effect"),
        (["--out", "x", "--effect", "ar=much"], 1, "does not end in a number"),
        (["--out", "x", "--effect", "ar=nan"], 1, "can be used"),
        (["--out", "x", "--effect", "fr=0.1"], 1, "No listener has the language 'fr'"),
        (["--out", "x", "--language", "0.4"], 1, "no language of its own"),
        (["--out", "x", "--language", "ar=1", "--language", "ar=2"], 1, "no language of its own"),
        (["--url", "http://localhost:1", "--key", "k", "--experiment", "e", "--lost", "0.5"], 1, "for files"),
        (["--url", "http://localhost:1", "--key", "k", "--experiment", "e"], 1, "cannot be reached"),
    ],
)
def test_a_mistake_is_a_sentence(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = simulate(*arguments)
    assert done.exit_code == code
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
