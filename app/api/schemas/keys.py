"""API keys: what a client asks for and what it is shown."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from app.api.schemas.base import Body, Name, View
from app.domain.keys import ApiKey, Scope
from app.services.keys import NewKey

KEY_ID = "key_0197e1c07a3d7f1296c80f4e5ab21d77"

EXAMPLE: dict[str, JsonValue] = {
    "id": KEY_ID,
    "name": "player",
    "scopes": ["serve", "events"],
    "created_at": "2026-01-01T12:00:00Z",
    "revoked_at": None,
    "last_used_at": "2026-01-02T08:30:00Z",
}


class KeyBody(Body):
    """A key that is wanted."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"name": "player", "scopes": ["serve", "events"]}]},
    )

    name: Name
    scopes: Annotated[
        list[Annotated[Scope, Field(strict=False)]],
        Field(
            min_length=1,
            max_length=len(Scope),
            json_schema_extra={"uniqueItems": True},
            description="`serve`: neighbours, songs and recommendations; `events`: send plays; `read`: see "
            "datasets, studies, trials, models and aliases; `tune`: change those, and `read`; `promote`: decide what "
            "is live, and `read`; `admin`: everything.",
        ),
    ]


class KeyView(View):
    """A key, without its secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE]})

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To a minute; null when it was never used.")

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        """The view of a key."""
        return cls(**_shown(key))


class NewKeyView(View):
    """A key that was made, with its secret."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE,
                    "last_used_at": None,
                    "key": "segue_0197e1c07a3d7f1296c80f4e5ab21d77_N0tArealKeyN0tArealKeyN0tArealKeyN0tArealKe",
                }
            ]
        },
    )

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    key: str = Field(description="Send it as `Authorization: Bearer …`. It is told this once.")

    @classmethod
    def of(cls, made: NewKey) -> "NewKeyView":
        """The view of a new key."""
        return cls(**_shown(made.key), key=made.written)


def _shown(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
