"""Health as load balancers and operators see it."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from app.api.schemas.base import View
from app.api.schemas.models import MODEL_ID
from app.domain.serving import AliasStatus, CatalogueStatus, ServingStatus


class LiveView(View):
    """The server answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "live"}]})

    status: Literal["live"] = "live"


class ServedAliasView(View):
    """How far this server has followed an alias."""

    model_config = ConfigDict(protected_namespaces=())

    alias: str
    wanted_model_id: str
    wanted_generation: int
    live_model_id: str | None
    live_generation: int | None
    loaded_at: datetime | None
    error: str | None = Field(description="Why what is wanted is not what is live.")
    has_table: bool = Field(description="Whether it has taken up the neighbours that were computed after it was ready.")
    neighbours_error: str | None = Field(
        description="Why what is live searches for neighbours although their table is ready."
    )

    @classmethod
    def of(cls, status: AliasStatus) -> "ServedAliasView":
        """The view of a status."""
        return cls(
            alias=status.alias,
            wanted_model_id=status.wanted_model_id,
            wanted_generation=status.wanted_generation,
            live_model_id=status.live_model_id,
            live_generation=status.live_generation,
            loaded_at=status.loaded_at,
            error=status.error,
            has_table=status.has_table,
            neighbours_error=status.neighbours_error,
        )


class CatalogueStatusView(View):
    """How far this server has followed the catalogue."""

    revision: int = Field(description="The change that it answers by; a denial names its own.")
    n_denied: int
    n_provisional: int
    read_at: datetime | None = Field(description="When it last saw that there is no later change.")

    @classmethod
    def of(cls, status: CatalogueStatus) -> "CatalogueStatusView":
        """The view of a status."""
        return cls(
            revision=status.revision,
            n_denied=status.n_denied,
            n_provisional=status.n_provisional,
            read_at=status.read_at,
        )


class ReadyView(View):
    """Whether the server should get requests, and how its parts are."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "is_ready": True,
                    "database": "reachable",
                    "database_error": None,
                    "looked_at": "2026-01-01T12:00:00Z",
                    "aliases": [
                        {
                            "alias": "production",
                            "wanted_model_id": MODEL_ID,
                            "wanted_generation": 3,
                            "live_model_id": MODEL_ID,
                            "live_generation": 3,
                            "loaded_at": "2026-01-01T11:59:58Z",
                            "error": None,
                            "has_table": True,
                            "neighbours_error": None,
                        }
                    ],
                }
            ]
        }
    )

    is_ready: bool
    database: Literal["reachable", "unreachable", "unknown"] = Field(
        description="As of the last look; loaded models serve without it."
    )
    database_error: str | None
    looked_at: datetime | None = Field(description="When the aliases were last read.")
    aliases: list[ServedAliasView]
    catalogue: CatalogueStatusView | None = None

    @classmethod
    def of(cls, status: ServingStatus) -> "ReadyView":
        """The view of a status."""
        known: Literal["reachable", "unknown"] = "unknown" if status.looked_at is None else "reachable"
        return cls(
            is_ready=status.is_ready,
            database=known if status.lookup_error is None else "unreachable",
            database_error=status.lookup_error,
            looked_at=status.looked_at,
            aliases=[ServedAliasView.of(alias) for alias in status.aliases],
            catalogue=None if status.catalogue is None else CatalogueStatusView.of(status.catalogue),
        )
