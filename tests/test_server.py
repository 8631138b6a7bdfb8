"""The server on its socket: what it cannot do it says."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
from fastapi import FastAPI

from app.server import CannotServe, address_of, listening_socket, run


def fail() -> None:
    raise RuntimeError


def app_that_cannot_start() -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        fail()
        yield

    return FastAPI(lifespan=lifespan)


def app_that_is_terminated() -> FastAPI:
    raise SystemExit(0)


def test_an_app_that_does_not_start_ends_the_server() -> None:
    with listening_socket("127.0.0.1", 0) as listener, pytest.raises(CannotServe, match="log says why"):
        run(listener, application=f"{__name__}:app_that_cannot_start")


def test_being_terminated_while_starting_is_no_failure() -> None:
    with listening_socket("127.0.0.1", 0) as listener, pytest.raises(SystemExit) as caught:
        run(listener, application=f"{__name__}:app_that_is_terminated")
    assert caught.value.code == 0


def test_a_free_port_is_taken_and_told() -> None:
    with listening_socket("127.0.0.1", 0) as listener:
        host, port = address_of(listener).removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)), timeout=5)):
            pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_address_of_version_six_is_bracketed() -> None:
    with listening_socket("::1", 0) as listener:
        assert address_of(listener).startswith("http://[::1]:")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(CannotServe, match=host), listening_socket(host, 0):
        pass
