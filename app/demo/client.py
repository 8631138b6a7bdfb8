"""The demo's view of the public HTTP API: what anybody else's client would do."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from app.demo.service import DemoFailed

CHUNK_BYTES = 1 << 20
POLL_S = 0.2

Json = dict[str, Any]


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class Client:
    """Speaks to one service; every refusal becomes DemoFailed with the service's own words."""

    def __init__(self, url: str, *, key: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=30, headers={"Authorization": f"Bearer {key}"})

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def get(self, path: str, **parameters: str | int) -> Json:
        """A resource."""
        return self._answer(self._http.get(path, params=parameters))

    def post(self, path: str, body: Json | None = None) -> Json:
        """Ask for something."""
        return self._answer(self._http.post(path, json={} if body is None else body))

    def upload(self, path: Path) -> str:
        """Send a file in; gives the upload's id."""
        headers = {"Content-Type": "application/octet-stream"}
        return str(self._answer(self._http.post("/v1/uploads", content=_file(path), headers=headers))["id"])

    def until(self, path: str, is_over: Callable[[Json], bool], *, see: Callable[[Json], None], limit_s: float) -> Json:
        """Poll a resource, showing each answer to `see`, until it is over. Raises: DemoFailed."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            resource = self.get(path)
            see(resource)
            if is_over(resource):
                failure = resource.get("failure")
                if resource.get("state") == "failed":
                    raise DemoFailed(f"{path} failed: {failure}")
                return resource
            time.sleep(POLL_S)
        raise DemoFailed(f"{path} was not done after {limit_s:.0f} s.")

    def trials(self, study_id: str) -> list[Json]:
        """Every trial of a study."""
        found: list[Json] = []
        parameters: dict[str, str | int] = {"limit": 100}
        while True:
            page = self.get(f"/v1/studies/{study_id}/trials", **parameters)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            parameters["cursor"] = page["next_cursor"]

    def is_live(self, alias: str, model_id: str) -> bool:
        """Whether the server already answers from this model."""
        answer = self._http.get("/v1/songs", params={"alias": alias, "limit": 1})
        return answer.status_code == httpx2.codes.OK and answer.json()["model_id"] == model_id

    def _answer(self, response: httpx2.Response) -> Json:
        if response.is_error:
            raise DemoFailed(f"{response.request.method} {response.request.url.path}: {response.text}")
        answer: Json = response.json()
        return answer


def in_path(identity: str) -> str:
    """An id as one segment of a path."""
    return quote(identity, safe="")
