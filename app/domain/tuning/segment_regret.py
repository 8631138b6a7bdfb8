"""Segment regret: what each segment gives up by living with the study's one winner.

Notation: for segment s, b is the trial of the search that scores best on the segment's validation pairs and w the
study's best trial; n trials beside w were measured there; pairs are those of the segment.

    regret   = mean over the pairs of b's value - w's value, both trained on all sessions
    interval = of `pairing`, on the same pairs, at level 1 - 0.05 / n: b was picked as the best of n, and Bonferroni
               makes the lower limit hold for all n at once (0.05 in all, for each segment by itself)

Verdict
worth_it        the lower limit is above `min_effect`
not_worth_it    w is the best trial here too; or the upper limit is below `min_effect`
no_evidence     neither: the pairs do not tell
too_few_pairs   fewer than MIN_PAIRS measured pairs
unknown         the ranks of one of the two are not kept, as of trials that another trainer ran

The value itself is the best of n and so too high on average; the lower limit is what holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from app.domain.measurement import Estimate, Scores
from app.domain.pairing import PairedDifference, PairRanks, paired_difference
from app.domain.tuning.objectives import MIN_PAIRS
from app.domain.tuning.trial import Trial, TrialRole, TrialState

ERROR = 0.05
"""The chance of a lower limit above the truth, and of an upper one below it, together, whatever n is."""


class Verdict(StrEnum):
    """Whether a segment should have a model of its own; see the module header."""

    WORTH_IT = "worth_it"
    NOT_WORTH_IT = "not_worth_it"
    NO_EVIDENCE = "no_evidence"
    TOO_FEW_PAIRS = "too_few_pairs"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRegret:
    """One segment: its best trial and the study's winner there, how they differ, and what follows."""

    segment: str
    n_pairs: int
    best: Trial
    best_score: Estimate
    winner: Trial
    winner_score: Estimate
    n_compared: int
    regret: PairedDifference | None
    verdict: Verdict
    reason: str


RanksOf = Callable[[Trial], PairRanks | None]
"""What became of each validation pair under a trial; None when that is not kept."""


def segment_regrets(
    trials: Sequence[Trial], winner: Trial, *, ranks_of: RanksOf, hr_weight: float, min_effect: float
) -> list[SegmentRegret]:
    """The regret of every segment in which the winner was measured, by name."""
    measured = [trial for trial in trials if trial.role is TrialRole.SEARCH and trial.state is TrialState.COMPLETED]
    found = []
    for name in sorted(_segments(winner)):
        ranking = ranked_on(measured, name)
        winner_score = next((score for trial, score in ranking if trial.id == winner.id), None)
        if winner_score is not None:
            differ = partial(_difference, name, ranks_of=ranks_of, hr_weight=hr_weight, n_compared=len(ranking) - 1)
            found.append(_regret(name, ranking, winner, winner_score, differ=differ, min_effect=min_effect))
    return found


def ranked_on(trials: Sequence[Trial], segment: str) -> list[tuple[Trial, Estimate]]:
    """The trials measured on the segment, with their score there, its best first; of equal ones the earlier."""
    scored = [(trial, score) for trial in trials if (score := score_on(trial, segment)) is not None]
    return sorted(scored, key=lambda pair: (-pair[1].value, pair[0].number))


def score_on(trial: Trial, segment: str) -> Estimate | None:
    """The objective on the segment's validation pairs; None where there is none."""
    scores = _segments(trial).get(segment)
    return None if scores is None else scores.objective


def _segments(trial: Trial) -> dict[str, Scores]:
    validation = None if trial.outcome is None else trial.outcome.validation
    return {} if validation is None else validation.segments


def _regret(
    name: str,
    ranking: Sequence[tuple[Trial, Estimate]],
    winner: Trial,
    winner_score: Estimate,
    *,
    differ: Callable[[Trial, Trial], PairedDifference | None],
    min_effect: float,
) -> SegmentRegret:
    best, best_score = ranking[0]
    if best_score.value <= winner_score.value:
        best, best_score = winner, winner_score
    regret = differ(best, winner)
    verdict, reason = _verdict(best, winner, regret, n_pairs=winner_score.n, min_effect=min_effect)
    return SegmentRegret(
        segment=name,
        n_pairs=winner_score.n,
        best=best,
        best_score=best_score,
        winner=winner,
        winner_score=winner_score,
        n_compared=len(ranking) - 1,
        regret=regret,
        verdict=verdict,
        reason=reason,
    )


def _difference(
    name: str, best: Trial, winner: Trial, *, ranks_of: RanksOf, hr_weight: float, n_compared: int
) -> PairedDifference | None:
    """None where the two are one trial, or the ranks of one are not kept."""
    if best.id == winner.id:
        return None
    ours, theirs = ranks_of(best), ranks_of(winner)
    if ours is None or theirs is None:
        return None
    return paired_difference(
        ours.of_segment(name), theirs.of_segment(name), hr_weight=hr_weight, level=1 - ERROR / max(1, n_compared)
    )


def _verdict(
    best: Trial, winner: Trial, regret: PairedDifference | None, *, n_pairs: int, min_effect: float
) -> tuple[Verdict, str]:
    if best.id == winner.id:
        return Verdict.NOT_WORTH_IT, "No trial scores higher here than the study's best."
    if n_pairs < MIN_PAIRS:
        return Verdict.TOO_FEW_PAIRS, f"{n_pairs} measured pairs are fewer than the {MIN_PAIRS} that tell anything."
    if regret is None:
        return Verdict.UNKNOWN, "What became of each pair is not kept of both trials."
    if regret.low > min_effect:
        return Verdict.WORTH_IT, f"The lower limit {regret.low:.4f} is above {min_effect:g}."
    if regret.high < min_effect:
        return Verdict.NOT_WORTH_IT, f"The upper limit {regret.high:.4f} is below {min_effect:g}."
    return Verdict.NO_EVIDENCE, f"{min_effect:g} lies between the limits {regret.low:.4f} and {regret.high:.4f}."
