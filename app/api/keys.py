"""API keys."""

from http import HTTPStatus
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, FromServices
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView, ResourceId
from app.api.schemas.keys import KeyBody, KeyView, NewKeyView

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=StrictRoute)

KeyPath = Annotated[ResourceId, Path(description="The key's id.")]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Make a key",
    response_model=NewKeyView,
    responses={**problems(409, 413, 415, 507), 201: LOCATION},
)
def create_key(body: KeyBody, services: FromServices) -> Response:
    """A new key. Its secret is in this answer and nowhere else: only a hash of it is kept.

    So it takes no `Idempotency-Key`, for no answer could be given twice: revoke a key whose answer was lost.
    """
    made = services.keys.create(name=body.name, scopes=body.scopes)
    services.keys_changed()
    headers = {"Location": f"/v1/keys/{made.key.id}", "Cache-Control": "no-store"}
    shown = orjson.dumps(NewKeyView.of(made).model_dump(mode="json"))
    return Response(shown, HTTPStatus.CREATED, headers=headers, media_type="application/json")


@router.get("", summary="List the keys", response_model=PageView[KeyView])
def list_keys(page: Annotated[PageParameters, Query()], services: FromServices) -> PageView[KeyView]:
    """Every key, the newest first, those that were revoked too."""
    found = services.keys.list(limit=page.limit, cursor=page.cursor)
    return PageView(items=[KeyView.of(key) for key in found.rows], next_cursor=found.next_cursor)


@router.get("/{key_id}", summary="See a key", response_model=KeyView, responses=problems(404))
def get_key(key_id: KeyPath, services: FromServices) -> KeyView:
    """What it may be used for, and when it last was."""
    return KeyView.of(services.keys.get(key_id))


@router.delete(
    "/{key_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Revoke a key",
    responses={
        **problems(404, 507),
        204: {"description": "No server takes it any more, two seconds from now at most."},
    },
)
def revoke_key(key_id: KeyPath, services: FromServices) -> None:
    """End its use for good: at once on this server, within two seconds on the others. It stays in the list."""
    services.keys.revoke(key_id)
    services.keys_changed()
