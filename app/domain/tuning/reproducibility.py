"""Whether a trial, repeated, gives the same vectors; and if so where.

One thread computes in one order, so the same program on the same kind of CPU gives the same bytes. Several threads add
to the same vectors in an order that nobody decides.
"""

from dataclasses import dataclass

from app.domain.tuning.trial import Method, Trial, TrialRole


@dataclass(frozen=True, slots=True)
class Reproducibility:
    """`is_reproducible` is None where it is not known; `reason` says why in a sentence."""

    is_reproducible: bool | None
    reason: str


def reproducibility(trial: Trial) -> Reproducibility | None:
    """Of a trial that was measured; None before that."""
    outcome = trial.outcome
    if outcome is None:
        return None
    if trial.role is TrialRole.CONFIRMATION:
        return Reproducibility(True, "It measures stored vectors, and trains none.")
    if trial.method is not Method.WORD2VEC:
        return Reproducibility(True, "Counting draws nothing at random.")
    if outcome.threads is None or outcome.cpu is None:
        return Reproducibility(None, "How many threads or what kind of CPU trained it was not recorded.")
    if outcome.threads > 1:
        return Reproducibility(False, f"{outcome.threads} threads trained it, and their order is not repeatable.")
    return Reproducibility(
        True, f"One thread trained it: the same seed gives the same vectors on another {outcome.cpu}."
    )
