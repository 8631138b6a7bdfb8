"""Drafting: the lists of two variants made one.

    answer of the first ──┐
                          ├── team draft ──► one answer; each song carries the token of the answer that it is of
    answer of the second ─┘

So a play that sends its song's token credits the variant that recommended it, and nothing about lists is stored.
"""

from dataclasses import replace

import numpy as np

from app.domain.attribution import parsed
from app.domain.experiments.interleaving import Pick, team_draft
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
