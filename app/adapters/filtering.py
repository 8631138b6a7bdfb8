"""Choose the sessions of a dataset, as expressions: sample, rare songs, length.

The filters run in this order, each on what the one before left, and each counts what it drops:

    sample           sessions (or users) whose md5 prefix lies below the fraction: the same ones on any engine
    min_song_plays   plays of songs that have fewer plays than that in the sample
    min_length       sessions with fewer songs left
    max_length       sessions with more songs left: music playing on with nobody there
"""

from dataclasses import dataclass
from itertools import pairwise

import ibis
import ibis.expr.types as ir

from app.adapters.duckdb_engine import Engine
from app.adapters.sessions import Listening
from app.domain.errors import InvalidSource
from app.domain.listening import Preparation

PREFIX_DIGITS = 12
"""Hexadecimal digits of the md5 that decide on a sample; as text they compare like the integers that they write."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is left: stored `sessions` (index, session, session_key, user_id, n) and `events` (index, place, song, …).

    `index` numbers the sessions left from 0, in their order; `dropped` is `{filter: {plays, sessions}}`.
    """

    sessions: ir.Table
    events: ir.Table
    n_sessions: int
    n_plays: int
    raw_plays: int
    dropped: dict[str, dict[str, int]]


def choose_sessions(engine: Engine, listening: Listening, preparation: Preparation) -> Chosen:
    """Apply the filters. Raises: InvalidSource when no session is left, with what each filter dropped."""
    if preparation.sample_by == "user" and not listening.has_users:
        raise InvalidSource(
            "The plays name no user, so they cannot be sampled by user.", pointer="/preparation/sample_by"
        )
    sampled = listening.sessions.filter(is_sampled(listening.sessions, preparation))
    events = listening.events.semi_join(sampled, "session")
    if preparation.min_song_plays > 1:
        events = of_frequent_songs(events, min_plays=preparation.min_song_plays)
    lengths = engine.store("lengths", events.group_by("session").agg(n=events.count()))
    long_enough = lengths.filter(lengths.n >= preparation.min_length)
    short_enough = long_enough
    if preparation.max_length is not None:
        short_enough = long_enough.filter(long_enough.n <= preparation.max_length)
    stages = {
        "raw": listening.sessions,
        "sample": sampled,
        "min_song_plays": lengths,
        "min_length": long_enough,
        "max_length": short_enough,
    }
    sizes = {name: _size(engine, stage) for name, stage in stages.items()}
    dropped = _dropped(sizes)
    n_plays, n_sessions = sizes["max_length"]
    if n_sessions == 0:
        raise InvalidSource(_nothing_left(sizes["raw"], dropped), pointer="/preparation")
    sessions = engine.store("chosen_sessions", indexed(short_enough, listening.sessions))
    chosen_events = events.join(sessions.select("session", "index"), "session")
    stored = engine.store("chosen_events", chosen_events.select("index", "place", "song", "played_at"))
    return Chosen(sessions, stored, n_sessions, n_plays, sizes["raw"][0], dropped)


def is_sampled(sessions: ir.Table, preparation: Preparation) -> ir.BooleanValue:
    """Whether md5("seed:key") lies below the fraction; the key is the session's, or the user's id."""
    if preparation.sample_fraction == 1:
        return ibis.literal(True)
    key = sessions.user_id if preparation.sample_by == "user" else sessions.session_key
    bound = int(preparation.sample_fraction * 16**PREFIX_DIGITS)
    prefix = (ibis.literal(f"{preparation.seed}:") + key).hexdigest("md5").substr(0, PREFIX_DIGITS)
    return prefix < f"{bound:0{PREFIX_DIGITS}x}"


def of_frequent_songs(events: ir.Table, *, min_plays: int) -> ir.Table:
    """The plays of songs with at least that many."""
    counts = events.group_by("song").agg(n_plays=events.count())
    return events.semi_join(counts.filter(counts.n_plays >= min_plays), "song")


def indexed(chosen: ir.Table, sessions: ir.Table) -> ir.Table:
    """The chosen sessions, numbered anew without gaps."""
    known = chosen.join(sessions.select("session", "session_key", "user_id"), "session")
    return known.mutate(index=ibis.row_number().over(ibis.window(order_by=known.session.asc())))


def _size(engine: Engine, sessions: ir.Table) -> tuple[int, int]:
    size = engine.rows(sessions.agg(plays=sessions.n.sum().fill_null(0), sessions=sessions.count()))[0]
    return size["plays"], size["sessions"]


def _dropped(sizes: dict[str, tuple[int, int]]) -> dict[str, dict[str, int]]:
    names = list(sizes)
    return {
        name: {"plays": sizes[before][0] - sizes[name][0], "sessions": sizes[before][1] - sizes[name][1]}
        for before, name in pairwise(names)
    }


def _nothing_left(raw: tuple[int, int], dropped: dict[str, dict[str, int]]) -> str:
    told = ", ".join(f"{name} {counts['sessions']}" for name, counts in dropped.items() if counts["sessions"])
    return f"No session is left of {raw[1]} with {raw[0]} plays; sessions dropped: {told}."
