"""Refusals before uvicorn makes anything of a request: no scope, no task, nothing to send through.

A refusal costs a fraction of any answer only if it is given here. Given by middleware it costs a third of a look-up of
neighbours, which at twice the capacity leaves hardly anything for answers (`python -m tests.benchmarks.overload`).
"""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.admission import GATE, REFUSED, Gate, refusal
from app.api.problems import MEDIA_TYPE, RETRY_AFTER_S

REST = b"content-type: %b\r\nretry-after: %b\r\n%%bcontent-length: %%d\r\nx-request-id: %%b\r\n\r\n%%b" % (
    MEDIA_TYPE.encode(),
    RETRY_AFTER_S.encode(),
)


class EarlyRefusals(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 on httptools, which asks the gate first.

    Everything is handed on where there is no gate, where an access log is kept, and while answers on the connection are
    still to be sent or read, so that their order and uvicorn's flow control stay as they are.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._gate: Gate | None = None if self.access_log else app_state.get(GATE)
        self._is_refused = False
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._written = b""

    def on_headers_complete(self) -> None:
        """Refuse the request, or begin to answer it."""
        self._is_refused = self._refuses()
        if not self._is_refused:
            super().on_headers_complete()
            return
        request_id, body = refusal(self.url.partition(b"?")[0])
        # A client that waits to be asked for the body does not send it now: what comes next would be taken for it.
        is_kept = self.parser.should_keep_alive() and not self.expect_100_continue
        rest = REST % (b"" if is_kept else b"connection: close\r\n", len(body), request_id.encode(), body)
        self.transport.write(self._first_lines() + rest)
        if is_kept:
            self.on_response_complete()
        else:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; that of a refused request is let go."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._is_refused:
            super().on_message_complete()

    def _refuses(self) -> bool:
        if self._gate is None or self.flow.write_paused or self.transport.is_closing():
            return False
        before: RequestResponseCycle | None = self.cycle
        is_free = before is None or before.response_complete
        return is_free and self._gate.refuses_on_arrival(self.url)

    def _first_lines(self) -> bytes:
        """The status and uvicorn's own headers, which are new each second."""
        headers = self.server_state.default_headers
        if self._headers is not headers:
            self._headers = headers
            self._written = STATUS_LINE[REFUSED.value] + b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._written
