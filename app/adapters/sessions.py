"""Cut plays into sessions, as expressions.

A play belongs to the session that its `session_id` names; without one, a gap of more than `session_gap_minutes` between
the starts of two plays of a user begins a new session. A session's key is its `session_id`, or the user's id, a colon
and the epoch milliseconds of its first play. Order in a session: `position`, `played_at`, the file's rows where there
is neither, `song_id`; in sessions cut by gaps: `played_at`, `position`, `song_id`. Rows equal in all of them stay.
Sessions are numbered by (first play, key), unknown times last, so that equal content has equal numbers.

    heard      session_key, user_id?, played_at?, song_id, place    (place orders a session's plays; it may have gaps)
    sessions   session, session_key, user_id?, start_ms?, n
    songs      song, song_id                                        (numbered by song_id)
    events     session, place, song, played_at?                     (`heard` with numbers for texts)
"""

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from app.adapters.duckdb_engine import Engine
from app.domain.errors import InvalidSource

MILLISECONDS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Listening:
    """All plays of a source in sessions, stored. `has_users` and `has_times` tell which columns mean something."""

    sessions: ir.Table
    songs: ir.Table
    events: ir.Table
    has_users: bool
    has_times: bool


def cut_sessions(engine: Engine, plays: ir.Table, *, gap_minutes: int) -> Listening:
    """The stored plays in numbered sessions. Raises: InvalidSource when a session has plays of two users."""
    by_id = "session_id" in plays.columns
    heard = engine.store("heard", heard_by_id(plays) if by_id else heard_by_gap(plays, gap_minutes=gap_minutes))
    engine.drop("plays")
    if by_id and "user_id" in plays.columns:
        _refuse_shared_sessions(engine, heard)
    sessions = engine.store("sessions", numbered_sessions(heard))
    songs = engine.store("songs", numbered_songs(heard))
    events = engine.store("events", numbered_events(heard, sessions=sessions, songs=songs))
    engine.drop("heard")
    return Listening(sessions, songs, events, "user_id" in plays.columns, "played_at" in plays.columns)


def heard_by_id(plays: ir.Table) -> ir.Table:
    """Plays in the sessions that the source names."""
    order = [plays[name] for name in ("position", "played_at", "file_row", "song_id") if name in plays.columns]
    return plays.select(
        session_key=plays.session_id,
        user_id=_or_null(plays, "user_id", type_="string"),
        played_at=_or_null(plays, "played_at", type_="int64"),
        song_id=plays.song_id,
        place=ibis.row_number().over(ibis.window(group_by=plays.session_id, order_by=order)),
    )


def heard_by_gap(plays: ir.Table, *, gap_minutes: int) -> ir.Table:
    """Plays in sessions cut where a user paused for more than the gap."""
    order = [plays[name] for name in ("played_at", "position", "song_id") if name in plays.columns]
    in_order = ibis.window(group_by=plays.user_id, order_by=order)
    paused = plays.select(
        "user_id",
        "played_at",
        "song_id",
        place=ibis.row_number().over(in_order),
        since=(plays.played_at - plays.played_at.lag().over(in_order)),
    )
    begins = paused.since.isnull() | (paused.since > gap_minutes * MILLISECONDS_PER_MINUTE)
    so_far = ibis.window(group_by=paused.user_id, order_by=paused.place, rows=(None, 0))
    start = begins.ifelse(paused.played_at, ibis.null("int64")).max().over(so_far)
    started = paused.mutate(start=start)
    return started.select(
        "user_id", "played_at", "song_id", "place", session_key=started.user_id + ":" + started.start.cast("string")
    )


def numbered_sessions(heard: ir.Table) -> ir.Table:
    """One row a session, numbered from 0 by (first play, key)."""
    sessions = heard.group_by("session_key").agg(
        user_id=heard.user_id.min(), start_ms=heard.played_at.min(), n=heard.count()
    )
    order = [sessions.start_ms.asc(nulls_first=False), sessions.session_key.asc()]
    return sessions.mutate(session=ibis.row_number().over(ibis.window(order_by=order)))


def numbered_songs(heard: ir.Table) -> ir.Table:
    """One row a song, numbered from 0 by id."""
    songs = heard.select("song_id").distinct()
    return songs.mutate(song=ibis.row_number().over(ibis.window(order_by=songs.song_id.asc())))


def numbered_events(heard: ir.Table, *, sessions: ir.Table, songs: ir.Table) -> ir.Table:
    """The plays with the numbers of their session and song."""
    return (
        heard.join(sessions.select("session_key", "session"), "session_key")
        .join(songs, "song_id")
        .select("session", "place", "song", "played_at")
    )


def _or_null(plays: ir.Table, name: str, *, type_: str) -> ir.Value:
    return plays[name] if name in plays.columns else ibis.null(type_)


def _refuse_shared_sessions(engine: Engine, heard: ir.Table) -> None:
    users = heard.group_by("session_key").agg(first=heard.user_id.min(), last=heard.user_id.max())
    shared = users.filter(users.first != users.last)
    found = engine.rows(shared.agg(n=shared.count(), session_key=shared.session_key.min()))[0]
    if found["n"]:
        raise InvalidSource(
            f"A session belongs to one user, but {found['n']} have plays of several, session"
            f" {found['session_key'][:80]!r} among them: session_id must be unique across users.",
            pointer="/plays",
        )
