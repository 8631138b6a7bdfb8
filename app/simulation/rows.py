"""Rows: a simulated day as tables of plays and exposures, with the columns that the service knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.attribution import Attribution
from app.domain.plays import EventType
from app.simulation.listeners import Numbers, Songs
from app.simulation.listening import Plays
from app.simulation.scenario import OUTSIDE, World

MILLISECONDS = pa.timestamp("ms", tz="UTC")

PLAYS = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("song_id", pa.string(), nullable=False),
        pa.field("played_at", MILLISECONDS, nullable=False),
        pa.field("seconds_streamed", pa.float64(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("attribution", pa.string()),
    ]
)

EXPOSURES = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),
        pa.field("exposed_at", MILLISECONDS, nullable=False),
    ]
)

SONGS = pa.schema(
    [
        pa.field("song_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("artist", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
    ]
)

SONGS_AN_ARTIST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What things are called. Variants and models of the control and the treatment; a token names both."""

    experiment_id: str = "exp_simulated"
    variants: tuple[str, str] = ("control", "treatment")
    models: tuple[str, str] = ("mdl_control", "mdl_treatment")
    alias: str = "production"
    first_user: int = 0
    """The number of the first listener."""

    def user_ids(self, user: Numbers) -> pa.Array:
        """The ids of listeners."""
        return pc.binary_join_element_wise("user", pa.array(user + self.first_user).cast(pa.string()), "-")

    def live(self, variant: int) -> tuple[str, str]:
        """What a variant, or for who is outside the alias, is live as, and its model."""
        if variant == OUTSIDE:
            return self.alias, self.models[0]
        return f"{self.experiment_id}-{variant + 1}", self.models[variant]


def plays_table(plays: Plays, world: World, *, day: int, names: Names) -> pa.Table:
    """The plays of a day, as `PLAYS`."""
    songs = world.songs
    number = pa.array(np.arange(len(plays))).cast(pa.string())
    columns = [
        pc.binary_join_element_wise(f"{world.scenario.seed}.{day}", number, "."),
        names.user_ids(plays.user),
        pa.array(songs.ids, pa.string()).take(pa.array(plays.song)),
        pa.array(plays.at_ms).cast(MILLISECONDS),
        pa.array(plays.seconds),
        pc.if_else(pa.array(plays.is_skip), EventType.SKIP.value, EventType.PLAY.value),
        pa.array(songs.durations_s[plays.song]),
        _tokens(plays, world, names=names),
    ]
    return pa.table(columns, schema=PLAYS)


def _tokens(plays: Plays, world: World, *, names: Names) -> pa.Array:
    """The token of the session's list, of songs that were recommended."""
    user, at_ms = plays.session_user, plays.session_at_ms
    exposed_at_ms = world.exposed_at_ms[user]
    is_inside = (exposed_at_ms >= 0) & (exposed_at_ms <= at_ms)
    variant = np.where(is_inside, world.variant[user], OUTSIDE)
    wanted = np.unique(plays.session[plays.is_recommended])
    tokens = [
        Attribution(*names.live(which), 1, issued_at_ms=instant, nonce=f"{listener:08d}").token
        for which, instant, listener in zip(
            variant[wanted].tolist(), at_ms[wanted].tolist(), user[wanted].tolist(), strict=True
        )
    ]
    place = np.searchsorted(wanted, plays.session)
    return pa.array(tokens, pa.string()).take(pa.array(place, mask=~plays.is_recommended))


def exposures_table(world: World, *, names: Names) -> pa.Table:
    """The exposures that were written down so far, as `EXPOSURES`."""
    found = world.exposures()
    columns = [
        names.user_ids(found.user),
        pa.array([names.variants[number] for number in found.variant.tolist()], pa.string()),
        pa.array(world.segments(found.user), pa.string()),
        pa.array(found.at_ms).cast(MILLISECONDS),
    ]
    return pa.table(columns, schema=EXPOSURES)


def songs_table(songs: Songs, languages: Sequence[str]) -> pa.Table:
    """What there is to hear, as `SONGS`."""
    numbers = range(len(songs.ids))
    columns = [
        pa.array(songs.ids, pa.string()),
        pa.array([f"Song {number}" for number in numbers], pa.string()),
        pa.array([f"Artist {number // SONGS_AN_ARTIST}" for number in numbers], pa.string()),
        pa.array([languages[number] for number in songs.language.tolist()], pa.string()),
        pa.array(songs.durations_s),
    ]
    return pa.table(columns, schema=SONGS)
