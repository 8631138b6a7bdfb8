"""The command line: what it makes, what it refuses and how it ends."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest
from typer.testing import CliRunner, Result

from app.adapters.sql.engine import create_engine
from app.adapters.sql.migrating import is_current
from app.bootstrap import Container
from app.cli import cli
from app.config import load
from app.domain.datasets import Dataset, DatasetState
from app.domain.keys import parted
from app.domain.lease import Failure
from app.domain.listening import Preparation, Repeats, Split
from tests.conftest import ROOT
from tests.processes import Server, descendants, environment, is_alive, stop, until
from tests.processes import server as started
from tests.values import statistics
from worker.machine import this_machine
from worker.planning import planned
from worker.throughput import Measured

pytestmark = pytest.mark.usefixtures("logging_restored", "_at_home")

PLAYS = "session_id,song_id,position\n1,a,0\n1,b,1\n1,c,2\n"
SONGS = "song_id,title,artist,language\na,A,X,fr\nb,B,Y,fr\nc,C,Z,de\n"


@pytest.fixture
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGUE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SEGUE_WORKER_SLOTS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def plays(tmp_path: Path) -> Path:
    path = tmp_path / "plays.csv"
    path.write_text(PLAYS)
    return path


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    path = tmp_path / "songs.csv"
    path.write_text(SONGS)
    return path


def segue(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refused(result: Result) -> str:
    """What the user is told, once it is sure that it is no traceback and nothing was made."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@contextmanager
def container() -> Iterator[Container]:
    built = Container(load())
    try:
        yield built
    finally:
        built.stop()


def datasets() -> list[Dataset]:
    with container() as built:
        return built.datasets.list(limit=10).rows


# Help and usage


@pytest.mark.parametrize("command", ["serve", "work", "plan", "migrate", "import", "simulate", "demo"])
def test_every_command_is_listed_and_explains_itself(command: str) -> None:
    assert re.search(rf"\b{command}\b", segue("--help").stdout)
    result = segue(command, "--help")
    assert result.exit_code == 0
    assert f"segue {command}" in result.stdout


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    assert segue("perform").exit_code == 2


def test_the_version_is_shown() -> None:
    result = segue("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("segue ")


def test_help_is_quick_for_it_loads_no_heavy_module() -> None:
    program = [sys.executable, "-X", "importtime", "-m", "app.cli", "--help"]
    result = subprocess.run(program, env=environment(load()), capture_output=True, text=True, check=True)
    assert "numpy" not in result.stderr
    assert "pydantic" not in result.stderr


# Settings


@pytest.mark.parametrize("command", [["serve"], ["work"], ["plan"], ["migrate"]])
def test_wrong_settings_are_listed_by_name(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_LEASE_S", "soon")
    monkeypatch.setenv("SEGUE_LEESE", "1")
    told = refused(segue(*command))
    assert "SEGUE_LEASE_S: " in told
    assert "SEGUE_LEESE: is not a setting" in told


def test_a_data_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGUE_DATA_DIR", str(tmp_path / "file" / "data"))
    assert str(tmp_path / "file") in refused(segue("migrate"))


def test_a_database_file_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"\xff\xd8" * 4096)
    monkeypatch.setenv("SEGUE_DATABASE_URL", f"sqlite:///{tmp_path / 'holiday.jpg'}")
    assert "not a database" in refused(segue("serve", "--port", "0"))
    assert "not a database" in refused(segue("migrate"))


# migrate


def test_migrating_brings_sqlite_up_to_date(tmp_path: Path) -> None:
    assert segue("migrate").exit_code == 0
    engine = create_engine(f"sqlite:///{tmp_path / 'data' / 'segue.db'}")
    assert is_current(engine)
    engine.dispose()
    assert segue("migrate").exit_code == 0


def test_migrating_brings_postgresql_up_to_date(empty_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_DATABASE_URL", empty_postgresql_url)
    assert segue("migrate").exit_code == 0
    engine = create_engine(empty_postgresql_url)
    assert is_current(engine)
    engine.dispose()


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["work"]])
def test_an_unmigrated_postgresql_is_refused_with_what_to_do(
    command: list[str], empty_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGUE_DATABASE_URL", empty_postgresql_url)
    assert "run 'segue migrate' first" in refused(segue(*command))


def test_a_database_that_is_away_is_reported_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_DATABASE_URL", "postgresql://segue:hunter2@127.0.0.1:9/segue")
    told = refused(segue("migrate"))
    assert "cannot be reached" in told
    assert "hunter2" not in told


# serve


def test_a_port_in_use_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} of 127.0.0.1 is in use" in refused(segue("serve", "--port", str(port)))


def test_an_address_that_is_not_ours_is_named() -> None:
    assert "192.0.2.1" in refused(segue("serve", "--host", "192.0.2.1", "--port", "0"))


# keys

EVERYWHERE = "0.0.0.0"  # noqa: S104 - an address that must be refused


def made_key(*scopes: str) -> str:
    """A key of these scopes, as it is printed."""
    made = segue("keys", "create", "--name", "player", *(word for scope in scopes for word in ("--scope", scope)))
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


def listed_keys() -> list[list[str]]:
    return [line.split("\t") for line in segue("keys", "list").stdout.splitlines()]


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked() -> None:
    key = made_key("serve", "events")
    found = parted(key)
    assert found is not None
    key_id, secret = found
    (listed,) = listed_keys()
    assert listed[:3] == [key_id, "player", "serve,events"]
    assert listed[4:] == ["-", "-"]
    assert secret not in segue("keys", "list").output
    assert segue("keys", "revoke", key_id).exit_code == 0
    (listed,) = listed_keys()
    assert listed[5].endswith("Z")
    assert "key_none" in refused(segue("keys", "revoke", "key_none"))


def test_a_key_needs_a_name_and_a_scope_that_there_is() -> None:
    assert segue("keys", "create", "--name", "player").exit_code == 2
    assert segue("keys", "create", "--name", "player", "--scope", "everything").exit_code == 2
    assert segue("keys", "create", "--name", " ", "--scope", "read").exit_code == 2
    assert listed_keys() == []


def test_a_server_on_an_outer_address_wants_a_key_first(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refused(segue("serve", "--host", EVERYWHERE, "--port", "0"))
    assert "segue keys create --name admin --scope admin" in told
    assert segue("keys", "revoke", parted_id(made_key("admin"))).exit_code == 0
    refused(segue("serve", "--host", EVERYWHERE, "--port", "0"))
    monkeypatch.setenv("SEGUE_AUTH", "off")
    assert "SEGUE_AUTH" in refused(segue("serve", "--host", EVERYWHERE, "--port", "0"))


def parted_id(key: str) -> str:
    found = parted(key)
    assert found is not None
    return found[0]


def status_of(server: Server, headers: dict[str, str]) -> int:
    return int(httpx2.get(f"{server.url}/v1/studies", headers=headers).status_code)


def test_a_server_says_how_to_make_a_first_key_and_then_takes_it() -> None:
    with started(load()) as server:
        assert "segue keys create --name admin --scope admin" in server.log.read_text()
        assert httpx2.get(f"{server.url}/v1/studies").status_code == 401
        headers = {"Authorization": f"Bearer {made_key('read')}"}
        until(
            lambda: httpx2.get(f"{server.url}/v1/studies", headers=headers).status_code == 200,
            "it is known",
            within_s=5,
        )
        assert httpx2.get(f"{server.url}/v1/keys", headers=headers).status_code == 403
        key_id = listed_keys()[0][0]
        until(lambda: listed_keys()[0][4] != "-", "its use is noted", within_s=10, every_s=0.5)
        assert segue("keys", "revoke", key_id).exit_code == 0
        until(
            lambda: httpx2.get(f"{server.url}/v1/studies", headers=headers).status_code == 401,
            "it is revoked",
            within_s=5,
        )


def test_at_home_keys_may_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_AUTH", "off")
    with started(load()) as server:
        assert "SEGUE_AUTH is off" in server.log.read_text()
        assert httpx2.get(f"{server.url}/v1/studies").status_code == 200


def workers_of(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.leader.pid).children()
    return [child for child in children if is_alive(child) and child.cmdline()[-2:] == ["-m", "worker"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_with_its_worker_starts_on_nothing_and_stops_clean(number: signal.Signals) -> None:
    with started(load(), arguments=("--with-worker",)) as server:
        until(lambda: " is ready" in server.log.read_text(), "the worker is ready")
        (worker,) = workers_of(server)
        server.leader.send_signal(number)
        assert server.leader.wait(60) == 0
        assert not is_alive(worker)
        assert "Traceback" not in server.log.read_text()


def test_a_killed_worker_is_replaced_while_the_server_answers() -> None:
    with started(load(), arguments=("--with-worker",)) as server:
        until(lambda: len(workers_of(server)) == 1, "a worker runs")
        (first,) = workers_of(server)
        first.kill()
        until(lambda: [worker.pid for worker in workers_of(server)] not in ([], [first.pid]), "another worker runs")
        assert httpx2.get(f"{server.url}/health/live").status_code == 200


def health_checks(figures: str) -> float:
    (told,) = re.findall(r'http_requests_total\{.*route="/health/live",status="200"\} (\S+)', figures)
    return float(told)


def test_several_server_processes_share_a_port_and_stop_together() -> None:
    with started(load(), arguments=("--processes", "2")) as server:
        children = descendants(server.leader.pid)
        assert len(children) >= 2
        for _ in range(40):  # each by a connection of its own, which either process may take
            assert httpx2.get(f"{server.url}/health/live").status_code == 200
        counted = {health_checks(httpx2.get(f"{server.url}/metrics").text) for _ in range(10)}
        assert len(counted) == 1
        assert min(counted) >= 40
        server.leader.terminate()
        assert server.leader.wait(60) == 0
        until(lambda: not any(is_alive(child) for child in children), "all have stopped")


# work


def test_work_becomes_a_worker_that_stops_on_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "app.cli", "work", "--slots", "2"]
    with log.open("wb") as output:
        program = subprocess.Popen(command, env=environment(load()), stderr=output, start_new_session=True)
    try:
        until(lambda: " is ready" in log.read_text(), "the worker is ready")
        assert psutil.Process(program.pid).cmdline()[-2:] == ["-m", "worker"]
        program.terminate()
        assert program.wait(60) == 0, log.read_text()
    finally:
        stop(program)


# plan


def test_the_plan_of_this_machine_is_shown_with_what_the_settings_take_instead(tmp_path: Path) -> None:
    kept = planned(
        tmp_path / "data",
        this_machine(),
        measure=lambda shapes: [Measured(shape=shape, plays_per_s=4321.0) for shape in shapes],
        load=lambda: 0.0,
    )
    program = [sys.executable, "-m", "app.cli", "plan"]
    shown = subprocess.run(program, env=environment(load()), capture_output=True, text=True, check=True)
    assert "4,321  chosen" in shown.stdout or kept.machine.cores == 1
    assert "SEGUE_WORKER_SLOTS is 1" in shown.stdout


# import


def test_importing_makes_a_dataset_and_prints_its_id(plays: Path, songs: Path) -> None:
    result = segue(
        "import", "--plays", plays, "--songs", songs, "--name", " spring ", "--segment-by", "language",
        "--min-length", "4", "--max-length", "50", "--sample-fraction", "0.5", "--sample-by", "user",
        "--seed", "7", "--query-in-training", "--repeats", "miss", "--test-fraction", "0.5",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (dataset,) = datasets()
    assert result.stdout == f"{dataset.id}\n"
    assert dataset.state is DatasetState.QUEUED
    assert dataset.spec.name == "spring"
    assert dataset.spec.segment_by == "language"
    assert dataset.spec.preparation == Preparation(
        min_length=4, max_length=50, sample_fraction=0.5, sample_by="user", seed=7
    )
    assert dataset.spec.split == Split(query_in_training=True, repeats=Repeats.MISS, test_fraction=0.5)
    with container() as built:
        assert built.datasets.path(dataset.spec.plays).read_text() == PLAYS
        assert dataset.spec.songs is not None
        assert built.datasets.path(dataset.spec.songs).read_text() == SONGS


def test_the_imports_defaults_are_the_datasets_own(plays: Path) -> None:
    assert segue("import", "--plays", plays, "--name", "spring").exit_code == 0
    (dataset,) = datasets()
    assert dataset.spec.preparation == Preparation()
    assert dataset.spec.split == Split()
    assert dataset.spec.songs is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--plays", "absent.csv"], "absent.csv"),
        (["--plays", "."], "directory"),
        (["--songs", "absent.csv"], "absent.csv"),
        (["--segment-by", "language"], "--songs"),
        (["--name", "  "], "characters"),
        (["--name", "x" * 201], "characters"),
        (["--repeats", "often"], "often"),
        (["--min-length", "three"], "integer"),
    ],
)
def test_a_wrong_import_is_a_usage_error_and_stores_nothing(
    changes: list[str], said: str, plays: Path, tmp_path: Path
) -> None:
    result = segue("import", "--plays", plays, "--name", "spring", *changes)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--min-length", "1"), ("--sample-fraction", "0"), ("--test-fraction", "1")]
)
def test_a_preparation_that_cannot_be_is_refused_before_anything_is_stored(
    option: str, value: str, plays: Path, tmp_path: Path
) -> None:
    told = refused(segue("import", "--plays", plays, "--name", "spring", option, value))
    assert option.removeprefix("--").replace("-", "_") in told
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_no_table_is_refused_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "photo.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    assert "photo.csv: " in refused(segue("import", "--plays", "photo.csv", "--name", "spring"))
    assert datasets() == []
    assert [path for path in (tmp_path / "data" / "uploads").glob("*") if path.is_file()] == []


def test_a_file_over_the_limit_is_refused_with_the_setting(plays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_MAX_UPLOAD_BYTES", "10")
    assert "SEGUE_MAX_UPLOAD_BYTES" in refused(segue("import", "--plays", plays, "--name", "spring"))


@contextmanager
def worker_that(ends: Callable[[Container], None]) -> Iterator[None]:
    """Somebody who takes the dataset when it comes and ends it so."""

    def claim() -> None:
        with container() as built:
            until(lambda: bool(built.datasets.list(limit=1).rows), "a dataset is asked for")
            ends(built)

    assert segue("migrate").exit_code == 0
    thread = threading.Thread(target=claim)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def completes(built: Container) -> None:
    work = built.datasets.claim("worker")
    assert work is not None
    time.sleep(0.5)
    with built.store.stage() as staged:
        (staged / "plays.npy").write_bytes(b"plays")
        built.datasets.complete(work.claim, staged=staged, statistics=statistics(), fingerprint="f" * 64)


def fails(built: Container) -> None:
    work = built.datasets.claim("worker")
    assert work is not None
    built.datasets.fail(work.claim, Failure(code="invalid_source", reason="It holds no sessions."), is_final=True)


def test_waiting_ends_when_the_dataset_is_ready(plays: Path) -> None:
    with worker_that(completes):
        result = segue("import", "--plays", plays, "--name", "spring", "--wait")
    assert result.exit_code == 0, result.stderr
    assert "Ready: " in result.stderr
    (dataset,) = datasets()
    assert result.stdout == f"{dataset.id}\n"


def test_waiting_ends_with_the_reason_when_preparation_fails(plays: Path) -> None:
    with worker_that(fails):
        result = segue("import", "--plays", plays, "--name", "spring", "--wait")
    assert result.exit_code == 1
    assert "It holds no sessions." in result.stderr
