"""What a suggester is told of earlier trials.

A suggester keeps nothing between calls: each suggestion is computed anew from the study's trials in the order of their
numbers, with a seed drawn from the study's seed and the trial's number, and is stored before it is used.
"""

from dataclasses import dataclass

from app.domain.training import TrainingParameters
from app.domain.tuning.trial import Trial, TrialState


@dataclass(frozen=True, slots=True)
class Observation:
    """One earlier point. `value` is maximised; None while pending. An infeasible point is worth the worst seen.

    `number`: the trial's; below 0 for what was measured before the study, which tells as much but is no trial of it.
    `violations`: by how much each of the study's constraints is missed; 0 or less where it holds, empty where there are
    none or nothing is known of them. A point that misses one has its own value, but is never the best.
    """

    number: int
    parameters: TrainingParameters
    value: float | None
    is_infeasible: bool = False
    violations: tuple[float, ...] = ()

    @property
    def is_feasible(self) -> bool:
        """Whether it was measured and holds to the constraints, as far as is known."""
        return self.value is not None and all(violation <= 0 for violation in self.violations)


def observations(trials: list[Trial]) -> list[Observation]:
    """What the search's trials say, by number; failed and cancelled ones say nothing."""
    told = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.parameters is None or trial.state in {TrialState.FAILED, TrialState.CANCELLED}:
            continue
        told.append(
            Observation(
                number=trial.number,
                parameters=trial.parameters,
                value=trial.objective,
                is_infeasible=trial.state is TrialState.INFEASIBLE,
            )
        )
    return told
