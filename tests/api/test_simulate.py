"""`segue simulate --url` on a server that listens: what a user at a shell does, and the results of it."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from typer.testing import CliRunner

from app.cli import cli
from tests.api.test_interleaving import started
from tests.api.world import World
from tests.keys import KEY
from tests.processes import until


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """Where the world listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(world.app, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started, "the server listens")
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


def test_users_listen_to_a_running_experiment_and_its_results_can_be_read_at_once(world: World, url: str) -> None:
    experiment_id = started(world, kind="assignment")
    done = CliRunner().invoke(
        cli,
        ["simulate", "--url", url, "--experiment", experiment_id, "--users", "80", "--days-before", "1", "--at-once"],
        env={"SEGUE_KEY": KEY},
    )
    assert done.exit_code == 0, done.stderr
    assert "listeners exposed to old" in done.stderr
    assert "told at once" in done.stderr
    assert world.client.post(f"/v1/experiments/{experiment_id}/stop").status_code == 200
    read = world.client.get(f"/v1/experiments/{experiment_id}/results")
    assert read.status_code == 200, read.text
    assert "100" in str(read.json()["reason"])  # users in a variant, at least
