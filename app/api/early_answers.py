"""Answers before uvicorn makes anything of a request: no task, no middleware, nothing to send through, one write.

Two things are short enough for it:

    a refusal            by an overloaded server. Given by middleware it costs a third of a look-up of neighbours, which
                         at twice the capacity leaves hardly anything for answers (`tests.benchmarks.overload`)
    a plain question     that asks nobody else (`plain_answers`): what lies between the protocol and the answer costs
                         as much as the answer, or twice as much as a look-up (`tests.benchmarks.serving`)
"""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.admission import GATE, REFUSED, Gate, refusal
from app.api.plain_answers import OK, PLAIN, PlainQuestions
from app.api.problems import MEDIA_TYPE, RETRY_AFTER_S

OF_REFUSALS = b"content-type: %b\r\nretry-after: %b\r\n" % (MEDIA_TYPE.encode(), RETRY_AFTER_S.encode())
OF_ANSWERS = b"content-type: application/json\r\n"

WHOLE = b"%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
"""An answer from its status to its end: first lines, fields, perhaps `CLOSING`, length, id, body."""

CLOSING = b"connection: close\r\n"


class EarlyAnswers(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 on httptools, which asks the gate and looks for plain questions first.

    Everything is handed on where an access log is kept, and while answers on the connection are still to be sent or
    read, so that their order and uvicorn's flow control stay as they are.
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
        self._questions: PlainQuestions | None = None if self.access_log else app_state.get(PLAIN)
        self._is_answered = False
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._first_lines: dict[int, bytes] = {}

    def on_headers_complete(self) -> None:
        """Answer the request at once, or begin to."""
        # A client that waits to be asked for the body does not send it now: what comes next would be taken for it.
        is_kept = (
            self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0" and not self.expect_100_continue
        )
        answer = self._early_answer(is_kept=is_kept) if self._is_free() else None
        self._is_answered = answer is not None
        if answer is None:
            super().on_headers_complete()
            return
        self.transport.write(answer)
        if is_kept:
            self.on_response_complete()
        else:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; that of a request that is answered is let go."""
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._is_answered:
            super().on_message_complete()

    def _is_free(self) -> bool:
        """Whether nothing on the connection is still to be sent or read."""
        if self.flow.write_paused or self.transport.is_closing():
            return False
        before: RequestResponseCycle | None = self.cycle
        return before is None or before.response_complete

    def _early_answer(self, *, is_kept: bool) -> bytes | None:
        path, _, query = self.url.partition(b"?")
        if self._gate is not None and self._gate.refuses_on_arrival(path):
            return self._refusal(path, is_kept=is_kept)
        if self._questions is None or self.parser.get_method() != b"GET":
            return None
        question = self._questions.find(path, query, self.headers)
        if question is None:
            return None
        if self._gate is not None and self._gate.refuses(is_counted=False):
            return self._refusal(path, is_kept=is_kept)
        body = self._questions.answer(question)
        if body is None:
            return None
        return self._whole(OK, OF_ANSWERS, question.request_id, body, is_kept=is_kept)

    def _refusal(self, path: bytes, *, is_kept: bool) -> bytes:
        request_id, body = refusal(path)
        return self._whole(REFUSED, OF_REFUSALS, request_id.encode(), body, is_kept=is_kept)

    def _whole(self, status: int, fields: bytes, request_id: bytes, body: bytes, *, is_kept: bool) -> bytes:
        headers = self.server_state.default_headers
        if self._default_headers is not headers:  # uvicorn's own, which are new each second
            self._default_headers = headers
            self._first_lines.clear()
        first_lines = self._first_lines.get(status)
        if first_lines is None:
            first_lines = STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % header for header in headers)
            self._first_lines[status] = first_lines
        return WHOLE % (first_lines, fields, b"" if is_kept else CLOSING, len(body), request_id, body)
