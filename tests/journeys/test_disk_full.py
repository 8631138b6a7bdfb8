"""A full disk is a clear error, and heals when there is space again.

Two mechanisms: the system's limit on the size of a file, set on running processes and lifted again (Linux), and a
small file system of its own, filled and emptied (where the tests may mount one).
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.adapters.sql.migrating import upgrade
from app.domain.tuning.trial import TrialState
from tests.journeys.house import House, opened, settings_for
from tests.journeys.http import answered, client, ended_study, study_body
from tests.journeys.listening import Compiled
from tests.processes import runners, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and tmpfs are Linux's own")

KIB = 1024
LIMIT_BYTES = 64 * KIB
"""Less than the vectors of two hundred songs at 200 dimensions (160 KiB)."""

VOLUME_BYTES = 24 * KIB * KIB


def limit_files(pid: int, size_bytes: int) -> None:
    """Let a running process, and what it starts from now on, write no larger files."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


def test_a_trial_without_space_for_its_vectors_says_so_and_succeeds_once_there_is_space(sqlite_house: House) -> None:
    house = sqlite_house
    dataset = house.dataset()
    worker = house.worker()
    until(lambda: bool(runners(worker.pid)), "the runner is there")
    [runner] = runners(worker.pid)
    limit_files(runner.pid, LIMIT_BYTES)
    study = house.study(dataset_id=dataset.id, fixed={"vector_size": 200}, n_initial=1, max_attempts=1)

    def is_told() -> bool:
        return any(trial.failure is not None for trial in house.trials(study))

    until(is_told, "the first attempt has failed")
    [trial] = house.trials(study)
    assert trial.failure is not None
    assert trial.failure.code == "storage_full"
    assert str(house.settings.data_dir) not in trial.failure.reason

    limit_files(runner.pid, resource.RLIM_INFINITY)
    house.assert_complete(study)
    [after] = house.trials(study)
    assert after.state is TrialState.COMPLETED
    assert after.parameters == trial.parameters
    assert after.attempt == 1  # the full disk was not its fault
    until(lambda: not house.staged(), "what was staged is gone")
    assert worker.poll() is None


def test_an_upload_without_space_is_refused_and_leaves_nothing(sqlite_house: House) -> None:
    server = sqlite_house.server()
    plays = b"session_id,song_id,position\n" + b"".join(b"s%d,a%d,%d\n" % (n // 9, n, n % 9) for n in range(200_000))
    with client(server) as http:
        limit_files(server.leader.pid, 2 * KIB * KIB)
        refused = http.post("/v1/uploads", content=plays, headers={"Content-Type": "application/octet-stream"})
        assert answered(refused, 507)["code"] == "storage_full"
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert not sqlite_house.staged()
        assert sqlite_house.kept("uploads") == []
        limit_files(server.leader.pid, resource.RLIM_INFINITY)
        taken = http.post("/v1/uploads", content=plays, headers={"Content-Type": "application/octet-stream"})
        assert answered(taken, 201)["size_bytes"] == len(plays)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A small file system of the test's own."""
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        reason = f"These tests may not mount a file system: {mounted.stderr.decode(errors='replace').strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def full_house(volume: Path, compiled: Compiled) -> Iterator[House]:
    """A house whose files and database are on the small file system."""
    url = f"sqlite:///{volume / 'segue.db'}"
    upgrade(url)
    with opened(settings_for(volume, compiled, database_url=url), compiled) as found:
        yield found


def fill(volume: Path) -> Path:
    """Take all the space that is left."""
    ballast = volume / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (64 * KIB, 4 * KIB):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


def test_a_service_on_a_full_disk_refuses_and_goes_on_when_there_is_space(full_house: House, volume: Path) -> None:
    worker = full_house.worker()
    dataset = full_house.dataset()
    with client(full_house.server()) as http:
        ballast = fill(volume)
        statuses = {http.post("/v1/studies", json=study_body(dataset, baselines=True)).status_code for _ in range(3)}
        assert httpx2.codes.INSUFFICIENT_STORAGE in statuses
        assert statuses <= {httpx2.codes.INSUFFICIENT_STORAGE, httpx2.codes.ACCEPTED}
        answered(http.get("/v1/studies"), 200)
        ballast.unlink()
        os.sync()
        asked = answered(http.post("/v1/studies", json=study_body(dataset)), 202)
        ended_study(http, asked["id"])
    assert worker.poll() is None
