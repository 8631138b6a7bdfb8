"""What trials and models leave in the artifact store."""

from app.domain.tuning.trial import Trial
from app.services.leasing import artifact_name

VECTORS = "trials"
"""The artifact store's name for trained vectors: kept of a study's best."""

RANKS = "ranks"
"""The artifact store's name for what became of each pair: kept of every completed trial."""

MODELS = "models"
"""The artifact store's name for model files."""


def artifacts_of(trial: Trial) -> list[tuple[str, str]]:
    """Kind and identity of all that any attempt at the trial may have left; removing what is not there does nothing."""
    names = [artifact_name(trial.id, attempt) for attempt in range(1, trial.attempt + 1)]
    return [(kind, name) for kind in (VECTORS, RANKS) for name in names]
