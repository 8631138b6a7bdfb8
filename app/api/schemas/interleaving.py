"""What users of interleaved lists prefer."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from app.api.schemas.base import View
from app.domain.experiments.interleaving import NOBODY_DECIDED, Preference
from app.services.interleaving import Preferences, Preferred

EXAMPLE_PREFERENCE: dict[str, Any] = {
    "segment": None,
    "n_users": 1210,
    "n_wins": 402,
    "n_losses": 310,
    "n_ties": 96,
    "n_without": 402,
    "n_plays": {"old": 2210, "tuned": 2603},
    "share": 0.5646,
    "low": 0.5273,
    "high": 0.6014,
    "p_value": 0.0006,
    "preference": 0.1139,
    "preferred": "tuned",
    "reason": None,
}


class PreferenceView(View):
    """Users by whose songs they played more since they were exposed; one vote a user, however much each played.

    `share` is that of the users who decide for the second variant, with its exact interval at the experiment's level,
    and `p_value` the sign test's. Both hold for one look, at the end that was planned.
    """

    segment: str | None = Field(description="The users' when they were exposed; null: overall, or users without one.")
    n_users: int
    n_wins: int = Field(description="Users who played more of the second variant's songs.")
    n_losses: int = Field(description="Users who played more of the first variant's.")
    n_ties: int = Field(description="Users who played as many of both.")
    n_without: int = Field(description="Users who played none of either.")
    n_plays: dict[str, int] = Field(description="Attributed plays by variant; users who play much have most of them.")
    share: float | None
    low: float | None
    high: float | None
    p_value: float | None
    preference: float | None = Field(description="(wins - losses) / (wins + losses + ties), -1 to 1.")
    preferred: str | None = Field(description="The variant that is shown to be preferred; null while neither is.")
    reason: str | None = Field(description="Why there is no number.")

    @classmethod
    def of(cls, found: Preferred, variants: tuple[str, str]) -> "PreferenceView":
        """The view of what some users prefer."""
        votes, preference = found.votes, found.preference
        return cls(
            segment=found.segment,
            n_users=votes.n_users,
            n_wins=votes.n_wins,
            n_losses=votes.n_losses,
            n_ties=votes.n_ties,
            n_without=votes.n_without,
            n_plays=dict(zip(variants, found.n_plays, strict=True)),
            share=None if preference is None else preference.share,
            low=None if preference is None else preference.low,
            high=None if preference is None else preference.high,
            p_value=None if preference is None else preference.p_value,
            preference=None if preference is None else preference.preference,
            preferred=None if preference is None else _preferred(preference, variants),
            reason=NOBODY_DECIDED if preference is None else None,
        )


def _preferred(preference: Preference, variants: tuple[str, str]) -> str | None:
    return variants[int(preference.share > 0.5)] if preference.is_decided else None


class PreferencesView(View):
    """What users of an interleaving experiment prefer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "experiment_id": "exp_0197f3a5e4",
                    "variants": ["old", "tuned"],
                    "level": 0.95,
                    "until": "2026-01-08T12:00:00Z",
                    "overall": EXAMPLE_PREFERENCE,
                    "segments": [{**EXAMPLE_PREFERENCE, "segment": "ar"}],
                }
            ]
        }
    )

    experiment_id: str
    variants: list[str] = Field(description="The first and the second.")
    level: float
    until: datetime = Field(description="Plays up to here count: now, or when the experiment was stopped.")
    overall: PreferenceView
    segments: list[PreferenceView]

    @classmethod
    def of(cls, found: Preferences) -> "PreferencesView":
        """The view of all of it."""
        spec = found.experiment.spec
        first, second = (variant.name for variant in spec.variants)
        return cls(
            experiment_id=found.experiment.id,
            variants=[first, second],
            level=1.0 - spec.alpha,
            until=found.until,
            overall=PreferenceView.of(found.overall, (first, second)),
            segments=[PreferenceView.of(each, (first, second)) for each in found.segments],
        )
