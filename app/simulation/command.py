"""The command `segue simulate`: from what was typed to a scenario, and what is said at the end."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from rich.console import Console

from app.simulation.files import Format, write
from app.simulation.listeners import NO_EFFECT, Effect, Language
from app.simulation.scenario import TWO_LANGUAGES, Scenario, SimulationFailed
from app.simulation.service import Service, listen

LIFT = re.compile(r"(.+?)(?:\.(songs|sessions|skipped|recommended))?=([^=]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was typed: lifts as `ar=0.1` or `ar.sessions=0.1`, languages as `ar=0.2`."""

    users: int
    effects: Sequence[str]
    languages: Sequence[str]
    days: int
    days_before: int
    traffic: float
    lost: float
    seed: int

    def scenario(self, languages: tuple[Language, ...], *, start_ms: int | None = None) -> Scenario:
        """The scenario, with these languages unless others were typed. Raises: SimulationFailed."""
        made = Scenario(
            n_users=self.users,
            languages=shares(self.languages) or languages,
            effects=lifts(self.effects),
            days=self.days,
            days_before=self.days_before,
            traffic=self.traffic,
            lost=self.lost,
            seed=self.seed,
        )
        return made if start_ms is None else replace(made, start_ms=start_ms, days=1)


def lifts(texts: Sequence[str]) -> dict[str, Effect]:
    """Effects by language. Raises: SimulationFailed.

    >>> lifts(["ar=0.1", "ar.sessions=0.05"])
    {'ar': Effect(songs=0.1, sessions=0.05, skipped=0.0, recommended=0.0)}
    """
    effects: dict[str, Effect] = {}
    for text in texts:
        found = LIFT.fullmatch(text)
        if found is None:
            names = ", ".join(each.name for each in fields(Effect))
            raise SimulationFailed(f"{text!r} is no effect: write it as ar=0.1 or ar.sessions=0.1 ({names}).")
        language, name, value = found.groups()
        changes = {name or "songs": _number(value, text)}
        effects[language] = replace(effects.get(language, NO_EFFECT), **changes)
    return effects


def shares(texts: Sequence[str]) -> tuple[Language, ...]:
    """Languages with their shares. Raises: SimulationFailed."""
    found: dict[str, Language] = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        if not name or name in found:
            raise SimulationFailed(f"{text!r} is no language of its own: write it as ar=0.2, each once.")
        found[name] = Language(name=name, share=_number(share, text))
    return tuple(found.values())


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise SimulationFailed(f"{whole!r} does not end in a number.") from error
    if not -1e6 < value < 1e6:  # NaN too
        raise SimulationFailed(f"{whole!r} does not end in a number that can be used.")
    return value


def simulated_files(asked: Asked, folder: Path, *, kind: Format, console: Console) -> Path:
    """The folder, with the files in it. Raises: SimulationFailed, OSError."""
    done = write(asked.scenario(TWO_LANGUAGES), folder, kind=kind, console=console)
    lost = f", {done.n_lost:,} lost" if done.n_lost else ""
    console.print(f"{done.n_plays:,} plays of {asked.users:,} listeners, {done.n_exposures:,} exposures{lost}.")
    return folder


def simulated_users(
    asked: Asked, *, url: str, key: str, experiment_id: str, column: str, at_once: bool, console: Console
) -> None:
    """Users of a running service. Raises: SimulationFailed."""
    if asked.lost or asked.traffic != 1:
        raise SimulationFailed("A service assigns and records by itself: --traffic and --lost are for files.")
    with Service(url, key=key) as service:
        done = listen(
            service,
            experiment_id,
            column=column,
            scenario=lambda languages: asked.scenario(languages, start_ms=int(time.time() * 1000)),
            console=console,
            at_once=at_once,
        )
    for variant, n in sorted(done.n_exposed.items()):
        console.print(f"{n:,} listeners exposed to {variant}.", markup=False)
    if done.n_outside:
        console.print(f"{done.n_outside:,} listeners are not in the experiment.")
    when = "told at once" if at_once else "over the day to come"
    console.print(f"{done.n_before:,} plays from before, {done.n_after:,} since, {when}.")
