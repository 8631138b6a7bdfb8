"""Interleaving: the lists of two variants made one, and what users' plays of it prefer.

    answer of the first ──┐
                          ├── team draft ──► one answer; each song carries the token of the answer that it is of
    answer of the second ─┘

So a play that sends its song's token credits the variant that recommended it, and nothing about lists is stored.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from app.domain.attribution import parsed
from app.domain.errors import Conflict
from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.experiments.interleaving import NO_VOTES, Ballot, Pick, Preference, Votes, preferred, team_draft
from app.domain.recommending import epoch_ms
from app.domain.repositories import UnitsOfWork
from app.domain.serving import Basis, Recommendation, RecommendationsAnswer, Step


def drafted(
    first: RecommendationsAnswer,
    second: RecommendationsAnswer,
    *,
    experiment_id: str,
    k: int,
    draws: np.random.Generator,
) -> RecommendationsAnswer:
    """One answer of up to k songs; what it says of the user is what the first says.

    Its own token names the experiment and neither variant: songs that both lists ran out of carry no other.
    """
    answers = (first, second)
    of_song = [{song["song_id"]: song for song in answer.recommendations} for answer in answers]
    basis_of = [_bases(answer) for answer in answers]
    picks = team_draft(list(of_song[0]), list(of_song[1]), k=k, draws=draws)
    songs, bases = [], []
    for pick in picks:
        team = _list_of(pick, of_song)
        song = of_song[team][pick.song]
        songs.append(song if pick.team is None else _credited(song, answers[team].attribution))
        bases.append(basis_of[team][pick.song])
    return replace(
        first,
        alias=experiment_id,
        recommendations=songs,
        steps=_steps(bases),
        unknown_song_ids=[*dict.fromkeys([*first.unknown_song_ids, *second.unknown_song_ids])],
        attribution=replace(parsed(first.attribution), alias=experiment_id).token,
    )


def _list_of(pick: Pick[str], of_song: list[dict[str, Recommendation]]) -> int:
    """The team's list; of a song that is of no team, the one that has it."""
    if pick.team is not None:
        return pick.team
    return 0 if pick.song in of_song[0] else 1


def _credited(song: Recommendation, token: str) -> Recommendation:
    return {**song, "attribution": token}


def _bases(answer: RecommendationsAnswer) -> dict[str, Basis]:
    """What gave each song."""
    bases = [step["basis"] for step in answer.steps for _ in range(step["n_songs"])]
    return {song["song_id"]: basis for song, basis in zip(answer.recommendations, bases, strict=True)}


def _steps(bases: list[Basis]) -> list[Step]:
    """Runs of the same basis."""
    steps: list[Step] = []
    for basis in bases:
        if steps and steps[-1]["basis"] == basis:
            steps[-1]["n_songs"] += 1
        else:
            steps.append({"basis": basis, "n_songs": 1})
    return steps


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
