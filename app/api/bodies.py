"""JSON bodies, read strictly: bounded, of the right type, and with one meaning whoever reads them."""

import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, NoReturn

from fastapi import Request, Response

from app.api.authorizing import ScopedRoute
from app.api.problems import Refused

SMALLEST_INT = -(2**63)
LARGEST_INT = 2**63 - 1

DEEPEST = 32
"""Levels that a body may be nested."""


class StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def body(self) -> bytes:
        """The whole body. Raises: Refused."""
        if not hasattr(self, "_body"):
            limit: int = self.app.state.services.max_body_bytes
            if _announced(self) > limit:
                raise _too_large(limit)
            chunks: list[bytes] = []
            size = 0
            async for chunk in self.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        """What the body says. Raises: Refused."""
        if not hasattr(self, "_json"):
            self._json = parsed(await self.body())
        return self._json


class StrictRoute(ScopedRoute):
    """A route that takes JSON, read strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own, given a strict request."""
        answer = super().get_route_handler()
        takes_body = self.body_field is not None

        async def answer_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if takes_body and await strict.body():
                check_media_type(strict)
            return await answer(strict)

        return answer_strictly


def _announced(request: Request) -> int:
    """The body's size as announced, 0 when it is not; servers have checked that it is a number."""
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0


def _too_large(limit: int) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        code="too_large",
        detail=f"The body is larger than the limit of {limit} bytes.",
        pointer="",
    )


def check_media_type(request: Request) -> None:
    """Refuse a body that is not said to be JSON. Raises: Refused."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            code="unsupported_media_type",
            detail=f"The body must be application/json, not {media_type or 'of an unknown type'}.",
            pointer="Content-Type",
        )


def parsed(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """What a JSON text says: UTF-8, numbers finite and of 64 bits at most, no name twice in an object.

    Raises: Refused.
    """
    try:
        text = body.decode()
        value = json.loads(
            text, parse_constant=_no_constant, parse_int=_int, parse_float=_float, object_pairs_hook=_object
        )
        _check_depth(value)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except UnicodeDecodeError as error:
        raise _malformed(f"not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise _malformed("a \\u escape is half a surrogate pair") from error
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise _malformed(f"nested more than {DEEPEST} levels deep") from error
    return value


def _malformed(reason: str) -> Refused:
    return Refused(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        code="malformed_json",
        detail=f"The body is not JSON that this service takes: {reason}.",
        pointer="",
    )


def _no_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is no number")


def _int(digits: str) -> int:
    if len(digits) > 20 or not SMALLEST_INT <= int(digits) <= LARGEST_INT:
        raise _malformed("a whole number has more than 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in {float("inf"), float("-inf")}:
        raise _malformed("a number is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _malformed("a name is given twice in one object")
    return found


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise _malformed(f"nested more than {DEEPEST} levels deep")
