"""Events: what happened to a study, in the order in which it happened.

An event is stored in the unit of work that made the change: there is one for each change that lasted, none for one that
did not. Ids rise, and within a study they rise in the order of the commits, for a study's rows are only ever
changed under its lock: whoever has seen id n has seen everything of that study up to n.
"""

from dataclasses import dataclass
from typing import Any, Literal

from app.domain.tuning.trial import TrialOutcome

Kind = Literal["study", "trial", "measurement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change: of the study, of a trial's state, or what a trial measured. `document` is plain JSON."""

    id: int
    study_id: str
    kind: Kind
    document: dict[str, Any]


def epochs_of(outcome: TrialOutcome | None) -> list[dict[str, Any]]:
    """The objective on the validation pairs after each epoch that was measured, as an event tells it."""
    epochs = () if outcome is None else outcome.epochs
    return [
        {"epoch": told.epoch, "objective": None if told.scores.objective is None else told.scores.objective.value}
        for told in epochs
    ]
