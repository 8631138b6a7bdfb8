"""Interleaving: what users' plays of lists drafted from two variants say."""

from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import Conflict
from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.experiments.interleaving import NO_VOTES, Ballot, Preference, Votes, preferred
from app.domain.recommending import epoch_ms
from app.domain.repositories import UnitsOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """What some users' plays say; `preference` is None when nobody decides. `segment` None: users of none."""

    segment: str | None
    votes: Votes
    n_plays: tuple[int, int]
    preference: Preference | None

    @classmethod
    def of(cls, ballot: Ballot, *, level: float) -> "Preferred":
        """What a ballot says."""
        return cls(
            segment=ballot.segment,
            votes=ballot.votes,
            n_plays=ballot.n_plays,
            preference=preferred(ballot.votes, level=level),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What all users prefer, and those of each segment at exposure; plays up to `until` count."""

    experiment: Experiment
    overall: Preferred
    segments: list[Preferred]
    until: datetime


class InterleavingService:
    """Reads interleaving experiments."""

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units

    def preferences(self, experiment_id: str) -> Preferences:
        """What users prefer so far. Raises: NotFound, Conflict for an experiment of another kind or not started."""
        with self._units.reading() as unit:
            experiment = unit.experiments.get(experiment_id)
            if experiment.kind != "interleaving":
                raise Conflict(f"Experiment {experiment_id!r} gives each user one variant: ask for its results.")
            if experiment.state is ExperimentState.DRAFT:
                raise Conflict(f"Experiment {experiment_id!r} is a draft: it was not started.")
            until = experiment.stopped_at or unit.now()
            first, second = (experiment.live_name(variant.name) for variant in experiment.spec.variants)
            ballots = unit.ballots.of(experiment_id, teams=(first, second), until_ms=epoch_ms(until))
        level = 1.0 - experiment.spec.alpha
        together = Ballot(
            segment=None,
            votes=sum((ballot.votes for ballot in ballots), NO_VOTES),
            n_plays=(sum(ballot.n_plays[0] for ballot in ballots), sum(ballot.n_plays[1] for ballot in ballots)),
        )
        return Preferences(
            experiment=experiment,
            overall=Preferred.of(together, level=level),
            segments=[Preferred.of(ballot, level=level) for ballot in ballots],
            until=until,
        )
