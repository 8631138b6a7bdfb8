"""Which parameters mattered in a study."""

from collections.abc import Callable

from app.domain.repositories import UnitsOfWork
from app.domain.tuning.importance import Importance, Observed, observed
from app.domain.tuning.revisions import within
from app.domain.tuning.suggester import observations
from app.domain.tuning.trial import TrialRole

Estimator = Callable[[Observed], Importance]


class ImportanceService:
    """Importances of studies."""

    def __init__(self, units: UnitsOfWork, *, estimate: Estimator) -> None:
        self._units = units
        self._estimate = estimate

    def of(self, study_id: str) -> Importance:
        """Of the trials measured so far whose point the present space holds.

        Pruned trials count as the suggester takes them. Raises: NotFound, Conflict when they are too few or all alike.
        """
        with self._units.reading() as unit:
            study = unit.studies.get(study_id)
            search = unit.trials.of_study(study_id, role=TrialRole.SEARCH)
        space = study.spec.space
        return self._estimate(observed(space, within(space, observations(search))))
