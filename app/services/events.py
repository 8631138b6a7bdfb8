"""What happens to studies, for those who follow them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.errors import NotFound
from app.domain.events import Event, epochs_of
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.tuning.study import OPEN_STATES
from app.domain.tuning.trial import ENDED_STATES, TrialState

PAGE = 500
"""Events read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is new of a study: events, how far it is (None once it is over), whether no more will come for now."""

    events: list[Event]
    progress: dict[str, Any] | None
    is_over: bool


class EventService:
    """Events of studies."""

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units

    def start(self, study_id: str) -> int:
        """The id of the study's last event as yet. Raises: NotFound."""
        with self._units.reading() as unit:
            unit.studies.get(study_id)
            return unit.events.latest(study_id)

    def after(self, study_id: str, cursor: int) -> tuple[list[Event], bool]:
        """Events after one, up to a page of them; and whether the study had ended. A study that is gone has."""
        with self._units.reading() as unit:
            is_over = _is_over(unit, study_id)  # first: what ended it is then among the events
            return unit.events.after(study_id, cursor, limit=PAGE), is_over

    def news(self, seen: Mapping[str, int]) -> dict[str, News]:
        """What is new of each study since the event that was seen of it."""
        with self._units.reading() as unit:
            return {study_id: _news(unit, study_id, cursor) for study_id, cursor in seen.items()}


def _news(unit: UnitOfWork, study_id: str, cursor: int) -> News:
    is_over = _is_over(unit, study_id)
    progress = None if is_over else _progress(unit, study_id)
    events = unit.events.after(study_id, cursor, limit=PAGE)
    return News(events=events, progress=progress, is_over=is_over and len(events) < PAGE)


def _is_over(unit: UnitOfWork, study_id: str) -> bool:
    """Whether nothing will happen to the study for now: trials that were running when it was cancelled end later."""
    try:
        is_open = unit.studies.get(study_id).state in OPEN_STATES
    except NotFound:
        return True
    return not is_open and not unit.trials.in_state(study_id, TrialState.RUNNING)


def _progress(unit: UnitOfWork, study_id: str) -> dict[str, Any]:
    counts = unit.trials.counts(study_id)
    return {
        "n_trials": sum(counts.values()),
        "n_ended": sum(n for (_, state), n in counts.items() if state in ENDED_STATES),
        "running": [
            {
                "trial_id": trial.id,
                "role": trial.role.value,
                "number": trial.number,
                "phase": None if trial.progress is None else trial.progress.phase,
                "fraction": None if trial.progress is None else trial.progress.fraction,
                "epochs": epochs_of(trial.outcome),
            }
            for trial in unit.trials.in_state(study_id, TrialState.RUNNING)
        ],
    }
