"""Runs the HTTP server on a socket of ours: in this operating-system process, or in several that share the socket."""

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.domain.errors import SegueError
from app.loading import loading

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp

APPLICATION = "app.server:application"

PROTOCOL = "app.api.early_answers:EarlyAnswers"

FIGURES_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client looks, when it is loaded, for the folder in which several processes keep their figures."""

SWITCH_S = 0.001

FINISH_REQUESTS_S = 10
"""How long a stopping server waits for the requests under way."""


class CannotServe(SegueError):
    """The server cannot listen or start; the sentence says why."""

    code = "cannot_serve"


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address; port 0 takes a free one. Raises: CannotServe when it is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            msg = f"Port {port} of {host} is in use: choose another with --port or SEGUE_PORT."
        else:
            msg = f"Segue cannot listen on port {port} of {host}: {error.strerror}."
        raise CannotServe(msg) from error
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """The URL that the socket answers on."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def application() -> "FastAPI":
    """The app that the environment describes, in whichever process uvicorn asks for it. Raises: InvalidSettings."""
    give_way_often()
    with loading():
        from app.main import app_from_environment  # noqa: PLC0415 - to be loaded within

        return app_from_environment()


def give_way_often() -> None:
    """Let a thread keep the interpreter for a millisecond and not five while the event loop waits for it.

    Threads follow aliases and keys every second: in an overload that was most of what delayed one answer in a hundred
    (18 ms instead of 6 to 13, `python -m tests.benchmarks.overload`).
    """
    sys.setswitchinterval(SWITCH_S)


@contextmanager
def _shared_figures() -> Iterator[None]:
    """A folder in which the processes started within keep their figures, so that each tells the sums of all.

    In memory where there is such a place: on a full disk, writing to a mapped file ends a process.
    """
    if FIGURES_FOLDER in os.environ:  # the operator's own
        yield
        return
    memory = Path("/dev/shm")  # noqa: S108 - the folder within is made for us alone
    folder = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="segue-figures-", dir=folder) as figures:
        os.environ[FIGURES_FOLDER] = figures
        try:
            yield
        finally:
            del os.environ[FIGURES_FOLDER]


def configuration(
    application: "str | Callable[[], ASGIApp]", *, processes: int = 1, access_log: bool = False
) -> uvicorn.Config:
    """How uvicorn serves the application that this makes, or that is made by who is named."""
    return uvicorn.Config(
        application,
        factory=True,
        lifespan="on",
        http=PROTOCOL,
        ws="none",
        workers=processes,
        log_config=None,
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=FINISH_REQUESTS_S,
    )


def run(
    listener: socket.socket, *, processes: int = 1, access_log: bool = False, application: str = APPLICATION
) -> None:
    """Serve until SIGTERM or SIGINT, which in a single process is raised again once the requests under way are done.

    Raises: CannotServe when the app does not start; KeyboardInterrupt after SIGINT.
    """
    config = configuration(application, processes=processes, access_log=access_log)
    if processes > 1:
        with _shared_figures():
            Multiprocess(config, sockets=[listener]).run()
        return
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except SystemExit as error:
        if error.code != STARTUP_FAILURE:
            raise
        raise CannotServe("The server could not start: the log says why.") from error
