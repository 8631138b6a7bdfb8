"""Outcomes of experiments: one pass over the plays of exposed users, summed up in SQL to what each day added.

    exposed ──► heard ──► sessions ──► user-days ──► running sums by user ──► increments by variant, segment and day
    (users)    (plays)    (numbered)

No row of a user leaves the database: what comes out is one row for each variant, segment, day and whether its users
were exposed that day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.domain.experiments.health import RevisionCount
from app.domain.experiments.metrics import Aggregate, Metric
from app.domain.experiments.moments import D_BEFORE, ONE, SIZE, Y_BEFORE, D, Steps, Y
from app.domain.experiments.outcomes import ANY_PLAY, Column, Due, Group, Outcomes, Term, Terms, terms_of
from app.domain.recommending import SESSION_GAP_MS

DAY_MS = 86_400_000

POSTGRESQL_SETTINGS = ("SET LOCAL work_mem = '256MB'", "SET LOCAL jit = off")
"""For one statement a day that sorts millions of plays; compiling it takes longer than it saves."""

BEFORE, AFTER = "b", "a"

Sql = sa.ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Exposures:
    """Whose plays are summed up: rows of user_id, variant, segment, exposed_at_ms; the tokens that count as theirs."""

    rows: sa.Select[Any]
    token_prefix: str | None


def exposures_of(experiment_id: str) -> Exposures:
    """Those of an experiment who saw one variant only."""
    columns = tables.exposures.c
    rows = sa.select(columns.user_id, columns.variant, columns.segment, columns.exposed_at_ms).where(
        columns.experiment_id == experiment_id, columns.crossed_at_ms.is_(None)
    )
    return Exposures(rows, f"v1.{experiment_id}-")


def cut_by(exposures: Exposures, detail: str, *, until_ms: int) -> Exposures:
    """The same, each user's segment being the detail's value that most of the plays since the exposure have.

    Users of whom no such play is known have none; of values that are played equally often the first is taken.
    """
    users, plays, songs = exposures.rows.subquery("users").c, tables.plays.c, tables.catalogue_songs.c
    value = sa.type_coerce(songs.said, sa.JSON)[("details", detail)].as_string()
    counts = (
        sa.select(users.user_id, value.label("value"), sa.func.count().label("n"))
        .join(tables.plays, plays.user_id == users.user_id)
        .join(tables.catalogue_songs, songs.song_id == plays.song_id)
        .where(plays.played_at_ms >= users.exposed_at_ms, plays.played_at_ms < until_ms, value.is_not(None))
        .group_by(users.user_id, value)
        .subquery("counts")
    )
    place = sa.func.row_number().over(partition_by=counts.c.user_id, order_by=(counts.c.n.desc(), counts.c.value))
    placed = sa.select(counts.c.user_id, counts.c.value, place.label("place")).subquery("placed")
    rows = sa.select(users.user_id, users.variant, placed.c.value.label("segment"), users.exposed_at_ms).outerjoin(
        placed, sa.and_(placed.c.user_id == users.user_id, placed.c.place == 1)
    )
    return Exposures(rows, exposures.token_prefix)


def listeners_since(since_ms: int, until_ms: int) -> Exposures:
    """All users as if an experiment had met each at the first play of a time: what past listening says of a metric."""
    columns = tables.plays.c
    rows = (
        sa.select(
            columns.user_id,
            sa.literal("history").label("variant"),
            sa.null().cast(sa.String(256)).label("segment"),
            sa.func.min(columns.played_at_ms).label("exposed_at_ms"),
        )
        .where(columns.played_at_ms >= since_ms, columns.played_at_ms < until_ms)
        .group_by(columns.user_id)
    )
    return Exposures(rows, None)


class SqlOutcomes:
    """Reads outcomes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_experiment(
        self,
        experiment_id: str,
        *,
        metrics: Sequence[Metric],
        covariate_days: int,
        since_ms: int,
        until_ms: int,
        cut: str | None = None,
    ) -> Outcomes:
        """Of who was exposed, by variant and segment or cut, for the UTC days from `since_ms` up to `until_ms`."""
        exposures = exposures_of(experiment_id)
        return self._read(
            exposures if cut is None else cut_by(exposures, cut, until_ms=until_ms),
            metrics=metrics,
            covariate_days=covariate_days,
            since_ms=since_ms,
            until_ms=until_ms,
        )

    def of_history(self, *, metrics: Sequence[Metric], covariate_days: int, since_ms: int, until_ms: int) -> Outcomes:
        """Of everybody who played anything in that time, as if exposed at the first play: one group, "history"."""
        return self._read(
            listeners_since(since_ms, until_ms),
            metrics=metrics,
            covariate_days=covariate_days,
            since_ms=since_ms,
            until_ms=until_ms,
        )

    def revisions(self, experiment_id: str, *, until_ms: int) -> list[RevisionCount]:
        """Users exposed before an instant and those of them who crossed, by revision, variant and segment."""
        columns = tables.exposures.c
        by = (columns.revision, columns.variant, columns.segment)
        query = (
            sa.select(*by, sa.func.count(), sa.func.count(columns.crossed_at_ms))
            .where(columns.experiment_id == experiment_id, columns.exposed_at_ms < until_ms)
            .group_by(*by)
        )
        return [RevisionCount(*row) for row in self._connection.execute(query)]

    def _read(
        self, exposures: Exposures, *, metrics: Sequence[Metric], covariate_days: int, since_ms: int, until_ms: int
    ) -> Outcomes:
        terms = {metric.name: terms_of(metric) for metric in metrics}
        query = Pass(exposures, terms=list(terms.values()), covariate_ms=covariate_days * DAY_MS, until_ms=until_ms)
        if self._connection.dialect.name == "postgresql":
            for setting in POSTGRESQL_SETTINGS:
                self._connection.exec_driver_sql(setting)
        rows = self._connection.execute(query.statement()).mappings().all()
        first_day, last_day = since_ms // DAY_MS, (until_ms - 1) // DAY_MS
        n_days = max(1, last_day - first_day + 1)
        found = Found(query, rows, first_day=first_day, n_days=n_days)
        return Outcomes(
            first_day=first_day,
            n_days=n_days,
            steps={name: found.steps(each) for name, each in terms.items()},
            active=found.steps(ANY),
        )


ANY = Terms(y=ANY_PLAY, d=None, has_covariate=False)

Name = str


class Pass:
    """The statement for some metrics."""

    def __init__(self, exposures: Exposures, *, terms: Sequence[Terms], covariate_ms: int, until_ms: int) -> None:
        self._exposures = exposures
        self._covariate_ms = covariate_ms
        self._until_ms = until_ms
        self._terms = [*terms, ANY]
        wanted = [each for metric in self._terms for each in (metric.y, metric.d)]
        columns = [term.column for term in wanted if isinstance(term, Term)]
        self._columns: list[Column] = list(dict.fromkeys(columns))
        self._dues: list[Due] = list(dict.fromkeys(term for term in wanted if isinstance(term, Due)))
        values = [self._names(metric) for metric in self._terms]
        self.values: list[Name] = list(dict.fromkeys(name for names in values for name in names if name is not None))
        self.pairs: list[tuple[Name, Name]] = list(
            dict.fromkeys(
                self.pair(one, other)
                for names in values
                for one, other in combinations_with_replacement([name for name in names if name is not None], 2)
            )
        )
        self.grams: list[tuple[Name, Name]] = list(
            dict.fromkeys(
                self.pair(one, other)
                for y, d, _, _ in values
                for one, other in combinations_with_replacement([name for name in (y, d) if name is not None], 2)
            )
        )

    def _names(self, terms: Terms) -> tuple[Name, Name | None, Name | None, Name | None]:
        """What y, d, and both before the exposure, are called."""
        y, d = self.name(terms.y, AFTER), None if terms.d is None else self.name(terms.d, AFTER)
        if not terms.has_covariate:
            return y, d, None, None
        return y, d, self.name(terms.y, BEFORE), None if terms.d is None else self.name(terms.d, BEFORE)

    names = _names

    def name(self, term: Term | Due, when: str) -> Name:
        """What a user's value is called."""
        if isinstance(term, Due):
            return f"due{term.days}"
        return f"{'f' if term.is_flag else 's'}{when}{self._columns.index(term.column)}"

    @staticmethod
    def pair(one: Name, other: Name) -> tuple[Name, Name]:
        """Both in one order."""
        return (one, other) if one <= other else (other, one)

    def statement(self) -> sa.Select[Any]:
        """Increments by variant, segment, day and whether the users were exposed that day."""
        return self._increments(self._running(self._user_days()))

    def _exposed(self) -> sa.CTE:
        rows = self._exposures.rows.subquery()
        return sa.select(rows).where(rows.c.exposed_at_ms < self._until_ms).cte("exposed")

    def _heard(self, exposed: sa.CTE) -> sa.Subquery:
        """The exposed users' plays from the covariates' time on, each with the instant of the one before."""
        plays, users = tables.plays.c, exposed.c
        before = sa.func.lag(plays.played_at_ms).over(partition_by=users.user_id, order_by=plays.played_at_ms)
        return (
            sa.select(
                users.user_id,
                users.variant,
                users.segment,
                users.exposed_at_ms,
                plays.played_at_ms,
                plays.seconds_streamed,
                plays.duration_s,
                sa.cast(plays.event_type, sa.String(32)).label("event_type"),
                plays.attribution,
                before.label("before_ms"),
            )
            .join_from(exposed, tables.plays, plays.user_id == users.user_id)
            .where(plays.played_at_ms >= users.exposed_at_ms - self._covariate_ms, plays.played_at_ms < self._until_ms)
            .subquery("heard")
        )

    def _sessions(self, heard: sa.Subquery) -> sa.Subquery:
        """Sums by session."""
        play = heard.c
        begins = sa.or_(
            play.before_ms.is_(None),
            play.played_at_ms - play.before_ms > SESSION_GAP_MS,
            sa.and_(play.played_at_ms >= play.exposed_at_ms, play.before_ms < play.exposed_at_ms),
        )
        number = sa.func.sum(sa.case((begins, 1), else_=0)).over(
            partition_by=play.user_id, order_by=play.played_at_ms, rows=(None, 0)
        )
        numbered = sa.select(heard, number.label("number")).subquery("numbered")
        sums = [
            sa.func.sum(self._contribution(numbered, column)).label(f"c{place}")
            for place, column in enumerate(self._columns)
            if column.aggregate is not None
        ]
        keys = (numbered.c.user_id, numbered.c.number, numbered.c.variant, numbered.c.segment, numbered.c.exposed_at_ms)
        begun_at = sa.func.min(numbered.c.played_at_ms).label("begun_at_ms")
        return sa.select(*keys, begun_at, *sums).group_by(*keys).subquery("sessions")

    def _contribution(self, play: sa.Subquery, column: Column) -> Sql:
        """What one play adds."""
        aggregate = column.aggregate
        assert aggregate is not None  # noqa: S101 - columns without are all sessions
        conditions = list(self._conditions(play, aggregate))
        if column.from_day:
            conditions.append(play.c.played_at_ms >= play.c.exposed_at_ms + column.from_day * DAY_MS)
        is_known = sa.and_(play.c.seconds_streamed.is_not(None), play.c.duration_s.is_not(None))
        heard = play.c.seconds_streamed / play.c.duration_s
        share = sa.case((heard < 1.0, heard), else_=1.0)
        amounts: dict[str, tuple[Sql, list[Sql]]] = {
            "events": (sa.literal(1.0, sa.Double), []),
            "seconds": (play.c.seconds_streamed, [play.c.seconds_streamed.is_not(None)]),
            "completion": (share, [is_known]),
            "completions": (sa.literal(1.0, sa.Double), [is_known]),
        }
        amount, further = amounts[aggregate.sum]
        conditions += further
        return sa.case((sa.and_(*conditions), amount), else_=0.0) if conditions else amount

    def _conditions(self, play: sa.Subquery, aggregate: Aggregate) -> Sequence[Sql]:
        conditions: list[Sql] = []
        if aggregate.event_types is not None:
            conditions.append(play.c.event_type.in_([event.value for event in aggregate.event_types]))
        if aggregate.is_attributed:
            prefix = self._exposures.token_prefix
            conditions.append(
                play.c.attribution.is_not(None)
                if prefix is None
                else sa.func.substr(play.c.attribution, 1, len(prefix)) == prefix
            )
        return conditions

    def _user_days(self) -> sa.Subquery:
        """What each user did by day. What was before the exposure is the day of the exposure's, in columns of its own.

        Everybody has a row of that day, and of the day on which somebody could have returned, whatever was played.
        """
        exposed = self._exposed()
        sessions = self._sessions(self._heard(exposed))
        session = sessions.c
        is_after = session.begun_at_ms >= session.exposed_at_ms
        first_day = session.exposed_at_ms // DAY_MS
        day = sa.case((is_after, session.begun_at_ms // DAY_MS), else_=first_day)
        columns: list[Sql] = []
        for place, column in enumerate(self._columns):
            amount: Sql = sa.literal(1.0, sa.Double) if column.aggregate is None else session[f"c{place}"]
            if column.counted == "sessions":
                amount = sa.case((amount > 0, 1.0), else_=0.0)
            columns += [
                sa.case((is_after, amount), else_=0.0).label(f"{AFTER}{place}"),
                sa.case((is_after, 0.0), else_=amount).label(f"{BEFORE}{place}"),
            ]
        nothing = [sa.literal(0.0, sa.Double).label(column.name) for column in columns]
        dues = [sa.literal(0.0, sa.Double).label(f"due{due.days}") for due in self._dues]
        keys = (session.user_id, session.variant, session.segment, first_day.label("first_day"))
        selects = [sa.select(*keys, day.label("day"), *columns, *dues)]
        user = exposed.c
        first = (user.exposed_at_ms // DAY_MS).label("first_day")
        selects.append(sa.select(user.user_id, user.variant, user.segment, first, first.label("day"), *nothing, *dues))
        for due in self._dues:
            at = user.exposed_at_ms + due.days * DAY_MS
            ones = [sa.literal(float(each is due), sa.Double).label(f"due{each.days}") for each in self._dues]
            selects.append(
                sa.select(
                    user.user_id, user.variant, user.segment, first, (at // DAY_MS).label("day"), *nothing, *ones
                ).where(at < self._until_ms)
            )
        every = sa.union_all(*selects).subquery("every")
        by = [every.c[name] for name in ("user_id", "variant", "segment", "first_day", "day")]
        sums = [sa.func.sum(every.c[column.name]).label(column.name) for column in (*columns, *dues)]
        return sa.select(*by, *sums).group_by(*by).subquery("user_days")

    def _running(self, user_days: sa.Subquery) -> sa.Subquery:
        """Each value now, `now_`, and the day before, `was_`."""
        keys = [user_days.c[name] for name in ("variant", "segment", "first_day", "day")]
        names = [each.key for each in user_days.c if each.key not in ("user_id", *(key.key for key in keys))]
        sums = {
            name: sa.func.sum(user_days.c[name]).over(
                partition_by=user_days.c.user_id, order_by=user_days.c.day, rows=(None, 0)
            )
            for name in names
        }
        summed = sa.select(
            *keys,
            *(user_days.c[name].label(f"add_{name}") for name in names),
            *(total.label(f"sum_{name}") for name, total in sums.items()),
        ).subquery("summed")
        told: list[Sql] = []
        for name in self.values:
            column = name if name.startswith("due") else name[1:]
            now: Sql = summed.c[f"sum_{column}"]
            was: Sql = now - summed.c[f"add_{column}"]
            if name.startswith("f"):
                now, was = (sa.case((value > 0, 1.0), else_=0.0) for value in (now, was))
            told += [now.label(f"now_{name}"), was.label(f"was_{name}")]
        is_first = sa.case((summed.c.day == summed.c.first_day, 1), else_=0).label("is_first")
        return sa.select(summed.c.variant, summed.c.segment, summed.c.day, is_first, *told).subquery("running")

    def _increments(self, running: sa.Subquery) -> sa.Select[Any]:
        row = running.c
        by = (row.variant, row.segment, row.day, row.is_first)

        def now(name: Name) -> Sql:
            return row[f"now_{name}"]

        def was(name: Name) -> Sql:
            return row[f"was_{name}"]

        sums = [sa.func.sum(now(name) - was(name)).label(f"s_{name}") for name in self.values]
        products = [
            sa.func.sum(now(one) * now(other) - was(one) * was(other)).label(f"p_{one}_{other}")
            for one, other in self.pairs
        ]
        grams = [
            sa.func.sum((now(one) - was(one)) * (now(other) - was(other))).label(f"g_{one}_{other}")
            for one, other in self.grams
        ]
        return sa.select(*by, sa.func.count().label("n"), *sums, *products, *grams).group_by(*by)


class Found:
    """The rows of a pass."""

    def __init__(self, query: Pass, rows: Sequence[Mapping[Any, Any]], *, first_day: int, n_days: int) -> None:
        self._query = query
        self._first_day = first_day
        self._n_days = n_days
        self._rows: dict[Group, list[Mapping[Any, Any]]] = {}
        for row in rows:
            self._rows.setdefault((row["variant"], row["segment"]), []).append(row)

    def steps(self, terms: Terms) -> dict[Group, Steps]:
        """What each day added to a metric, by group."""
        return {group: self._steps(terms, rows) for group, rows in self._rows.items()}

    def _steps(self, terms: Terms, rows: Sequence[Mapping[Any, Any]]) -> Steps:
        shape = (self._n_days, SIZE, SIZE)
        first, later, grams = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        names = dict(zip((Y, D, Y_BEFORE, D_BEFORE), self._query.names(terms), strict=True))
        for row in rows:
            day = min(max(int(row["day"]) - self._first_day, 0), self._n_days - 1)
            into = first if row["is_first"] else later
            into[day] += _matrix(row, names, self._query)
            if not row["is_first"]:
                grams[day] += _gram(row, names, self._query)
        return Steps(first=first, later=later, grams=grams)


def _matrix(row: Mapping[Any, Any], names: Mapping[int, Name | None], query: Pass) -> np.ndarray[Any, Any]:
    """The increments of M: what is absent is 0, but for denominators, which are then 1."""
    found = np.zeros((SIZE, SIZE))
    n = float(row["n"]) if row["is_first"] else 0.0
    ones = [ONE, *(place for place in (D, D_BEFORE) if names[place] is None)]
    found[np.ix_(ones, ones)] = n
    present = {place: name for place, name in names.items() if name is not None}
    for place, name in present.items():
        for one in ones:
            found[place, one] = found[one, place] = float(row[f"s_{name}"])
        for other_place, other in present.items():
            found[place, other_place] = float(row["p_{}_{}".format(*query.pair(name, other))])
    return found


def _gram(row: Mapping[Any, Any], names: Mapping[int, Name | None], query: Pass) -> np.ndarray[Any, Any]:
    found = np.zeros((SIZE, SIZE))
    changing = {place: name for place, name in names.items() if place in {Y, D} and name is not None}
    for place, own in changing.items():
        for other_place, other in changing.items():
            found[place, other_place] = float(row["g_{}_{}".format(*query.pair(own, other))])
    return found
