"""What the demo prints, made from the API's own answers."""

from collections.abc import Sequence

from rich.table import Table

from app.demo.client import Json

DASH = "-"

BASELINE_TITLES = {
    "gensim_defaults": "gensim's defaults",
    "gensim_defaults_skip_gram": "the same, skip-gram",
    "most_popular": "most popular",
    "next_song": "next-song counts",
    "co_occurrence": "co-occurrence ±5",
}

MARKS = {"completed": "[green]done[/]", "running": "[yellow]running[/]", "waiting": "[dim]waiting[/]"}

PLAIN = frozenset({"most_popular", "next_song", "co_occurrence"})


def of_dataset(statistics: Json) -> Table:
    """What is in the dataset."""
    overall = statistics["overall"]
    table = Table("plays", "sessions", "songs", "users", "pairs: validation", "test", "median length")
    length = overall["session_length"]
    table.add_row(
        f"{overall['plays']:,}",
        f"{overall['sessions']:,}",
        f"{overall['songs']:,}",
        DASH if overall["users"] is None else f"{overall['users']:,}",
        f"{overall['validation_pairs']:,}",
        f"{overall['test_pairs']:,}",
        DASH if length is None else f"{length['p50']:g} songs",
    )
    return table


def of_trials(trials: Sequence[Json], *, best_id: str | None, last: int | None = None) -> Table:
    """The search's trials, the `last` ones alone if so asked; `mean` is the objective, on the validation pairs."""
    table = Table("trial", "dim", "win", "neg", "rate", "HR@10", "NDCG@10", "mean", "train s", "state")
    for column in table.columns[:9]:
        column.justify = "right"
    search = [trial for trial in trials if trial["role"] == "search"]
    for trial in search if last is None else search[-last:]:
        parameters = trial["parameters"]
        overall = None if trial["validation"] is None else trial["validation"]["overall"]
        trained = trial["times_s"].get("train")
        state = trial["state"]
        table.add_row(
            str(trial["number"] + 1),
            str(parameters["vector_size"]),
            str(parameters["window"]),
            str(parameters["negative"]),
            f"{parameters['alpha']:.4f}",
            _value(overall, "hit_ratio"),
            _value(overall, "ndcg"),
            _value(overall, "objective"),
            DASH if trained is None else f"{trained:.1f}",
            MARKS.get(state, f"[red]{state}[/]"),
            style="bold" if trial["id"] == best_id else None,
        )
    return table


def _value(overall: Json | None, metric: str) -> str:
    return DASH if overall is None or overall[metric] is None else f"{overall[metric]['value']:.3f}"


def of_results(confirmation: Json | None, baselines: Sequence[Json]) -> Table:
    """The winner beside what it has to beat; `reach` is the share of all songs that were recommended."""
    table = Table("on the test pairs", "HR@10", "95 %", "NDCG@10", "95 %", "n", "reach")
    for column in table.columns[1:]:
        column.justify = "right"
    rows: list[tuple[str, Json]] = [] if confirmation is None else [("[bold]tuned by Segue[/]", confirmation)]
    rows += [(BASELINE_TITLES[trial["name"]], trial) for trial in baselines]
    for title, trial in rows:
        measured = trial["test"]
        if measured is None:
            table.add_row(title, *[DASH] * 6)
            continue
        overall = measured["overall"]
        table.add_row(
            title,
            _value(overall, "hit_ratio"),
            _interval(overall["hit_ratio"]),
            _value(overall, "ndcg"),
            _interval(overall["ndcg"]),
            f"{overall['n_pairs']:,}",
            DASH if measured["coverage"] is None else f"{measured['coverage']:.0%}",
        )
    return table


def _interval(estimate: Json | None) -> str:
    return DASH if estimate is None else f"{estimate['low']:.3f}-{estimate['high']:.3f}"


def winning_plain_baseline(confirmation: Json | None, baselines: Sequence[Json]) -> str | None:
    """The plain baseline with the highest HR@10 above the winner's, by its title: the product says so."""
    tuned = _hit_ratio(confirmation)
    rated = [(_hit_ratio(trial), trial["name"]) for trial in baselines if trial["name"] in PLAIN]
    better = sorted((rate, name) for rate, name in rated if rate is not None and tuned is not None and rate > tuned)
    return BASELINE_TITLES[better[-1][1]] if better else None


def _hit_ratio(trial: Json | None) -> float | None:
    measured = None if trial is None else trial["test"]
    estimate = None if measured is None else measured["overall"]["hit_ratio"]
    return None if estimate is None else float(estimate["value"])


def of_songs(rows: Sequence[Json], *, title: str) -> Table:
    """Songs in their order with what they score."""
    table = Table("", "title", "artist", "song_id", "score", title=title, title_justify="left")
    for place, row in enumerate(rows, 1):
        score = row["score"]
        table.add_row(
            str(place),
            row["title"] or DASH,
            row["artist"] or DASH,
            row["song_id"],
            DASH if score is None else f"{score:.3f}",
        )
    return table


def of_times(phases: Sequence[tuple[str, float]]) -> Table:
    """Where the time went."""
    total = sum(seconds for _, seconds in phases)
    table = Table("where the time went", "seconds", "share")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, seconds in phases:
        table.add_row(name, f"{seconds:.1f}", f"{seconds / total:.0%}")
    table.add_section()
    table.add_row("in all", f"{total:.1f}", "")
    return table
