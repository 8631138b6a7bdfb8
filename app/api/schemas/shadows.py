"""Shadows: what a client asks for and what it is told."""

from datetime import datetime

from pydantic import ConfigDict, Field

from app.api.schemas.base import AliasName, Body, ResourceId, View
from app.api.schemas.models import OTHER_MODEL_ID
from app.domain.shadowing import Shadow, quantile_ms
from app.services.shadowing import ShadowReport


class ShadowBody(Body):
    """Which challenger, and for which share of the requests."""

    model_config = ConfigDict(
        protected_namespaces=(), json_schema_extra={"examples": [{"model_id": OTHER_MODEL_ID, "share": 0.05}]}
    )

    model_id: ResourceId | None = Field(default=None, description="A model that is ready.")
    alias: AliasName | None = Field(default=None, description="Another alias, which is followed.")
    share: float = Field(default=0.05, ge=0, le=1, description="The share of the requests that it answers too.")


class ChallengerView(View):
    """A model, or an alias that is followed."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str | None
    alias: str | None


class ShadowView(View):
    """A shadow."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "alias": "production",
                    "challenger": {"model_id": OTHER_MODEL_ID, "alias": None},
                    "share": 0.05,
                    "created_at": "2026-01-01T12:03:04Z",
                }
            ]
        }
    )

    alias: str
    challenger: ChallengerView
    share: float
    created_at: datetime

    @classmethod
    def of(cls, shadow: Shadow) -> "ShadowView":
        """The view of a shadow."""
        return cls(
            alias=shadow.alias,
            challenger=ChallengerView(model_id=shadow.challenger_model_id, alias=shadow.challenger_alias),
            share=shadow.share,
            created_at=shadow.created_at,
        )


class QuantilesView(View):
    """How long the answers took in the server, without HTTP; at most 12 % too high, null before the first."""

    p50_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, counts: tuple[int, ...]) -> "QuantilesView":
        """The view of counts by bucket."""
        return cls(p50_ms=quantile_ms(counts, 0.5), p99_ms=quantile_ms(counts, 0.99))


class ShadowReportView(View):
    """What a shadow showed, over all servers, which tell it every few seconds.

    `n` requests were compared; `overlap` is the mean share of songs that both answers have, of as many as were asked
    for. `n_errors` the challenger could not answer; `n_dropped` were not asked, for it was behind.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "shadow": {
                        "alias": "production",
                        "challenger": {"model_id": OTHER_MODEL_ID, "alias": None},
                        "share": 0.05,
                        "created_at": "2026-01-01T12:03:04Z",
                    },
                    "n": 4210,
                    "n_errors": 3,
                    "n_dropped": 0,
                    "overlap": 0.62,
                    "live": {"p50_ms": 0.04, "p99_ms": 0.35},
                    "challenger": {"p50_ms": 0.05, "p99_ms": 0.4},
                    "n_servers": 2,
                    "updated_at": "2026-01-01T12:30:00Z",
                }
            ]
        }
    )

    shadow: ShadowView
    n: int
    n_errors: int
    n_dropped: int
    overlap: float | None
    live: QuantilesView
    challenger: QuantilesView
    n_servers: int
    updated_at: datetime | None

    @classmethod
    def of(cls, report: ShadowReport) -> "ShadowReportView":
        """The view of a report."""
        tally = report.tally
        return cls(
            shadow=ShadowView.of(report.shadow),
            n=tally.n,
            n_errors=tally.n_errors,
            n_dropped=tally.n_dropped,
            overlap=tally.mean_overlap,
            live=QuantilesView.of(tally.live),
            challenger=QuantilesView.of(tally.challenger),
            n_servers=report.n_servers,
            updated_at=report.updated_at,
        )
