"""Adapters that are imported when they are first needed, so that no program loads what it never uses.

scikit-learn, SciPy, Arrow, Faiss and Redis take seconds to load between them; a server that suggests nothing starts
without the first, one that has no Redis without the last.
"""

# ruff: noqa: PLC0415 - that is what this module is for

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.domain.differences import Difference
from app.domain.experiments.effects import Estimate, Unknown
from app.domain.experiments.moments import Moments
from app.domain.ports import Signals, Suggester
from app.domain.serving import LiveModel
from app.domain.tuning.importance import Importance, Observed
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.scalarising import ScalarisingSuggester
from app.domain.tuning.study import StudySpec
from app.services.differences import Kept

if TYPE_CHECKING:
    from app.adapters.redis.histories import RedisHistories


def suggester_for(spec: StudySpec) -> Suggester:
    """What the study asks for, beneath what makes one objective of two."""
    suggester = _single_suggester_for(spec)
    if spec.objectives:
        suggester = ScalarisingSuggester(suggester, names=spec.objectives, seed=spec.seed)
    return suggester


def _single_suggester_for(spec: StudySpec) -> Suggester:
    if spec.algorithm == "random":
        return RandomSearch(spec.space, spec.seed)
    from app.adapters import bayes_opt

    return bayes_opt.suggester_for(spec)


def redis_signals(url: str) -> Signals:
    """Wakes idle workers by way of a Redis."""
    from app.adapters.redis.signals import RedisSignals

    return RedisSignals(url)


def redis_histories(url: str, *, n_kept: int) -> "RedisHistories":
    """Keeps so many recent plays of each user in a Redis."""
    from app.adapters.redis.histories import RedisHistories

    return RedisHistories(url, n_kept=n_kept)


def recognise(path: Path) -> Literal["parquet", "csv"]:
    """What kind of file that is."""
    from app.adapters import sources

    return sources.recognise(path)


def csv_writer(columns: dict[str, type], pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    """Rows as CSV."""
    from app.adapters.exporting import csv_bytes

    return csv_bytes(columns, pages)


def parquet_writer(columns: dict[str, type], pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    """Rows as Parquet."""
    from app.adapters.exporting import parquet_bytes

    return parquet_bytes(columns, pages)


def importance(found: Observed) -> Importance:
    """How much each hyperparameter matters."""
    from app.adapters import importance as adapter

    return adapter.importance(found)


def estimate(control: Moments, treatment: Moments, *, day: int = -1, alpha: float = 0.05) -> Estimate | Unknown:
    """What a variant did."""
    from app.adapters import experiment_effects

    return experiment_effects.estimate(control, treatment, day=day, alpha=alpha)


def compare(one: Kept, other: Kept, /, *, k: int, segment_column: str | None) -> Difference:
    """How two stored models differ."""
    from app.adapters.model_comparison import StoredDifference
    from app.adapters.table_files import read_model_and_table

    stored = (read_model_and_table(each.files, each.table, model_id=each.model_id) for each in (one, other))
    return StoredDifference(*stored, k=k, segment_column=segment_column)


def load_model(folder: Path, model_id: str) -> LiveModel:
    """The model whose files are in the folder."""
    from app.adapters import model_files

    return model_files.load_model(folder, model_id)


def take_table(model: LiveModel, folder: Path) -> LiveModel:
    """The model with the table of neighbours whose files are in the folder."""
    from app.adapters import table_files
    from app.adapters.live_model import LoadedModel

    return table_files.take_table(model, folder) if isinstance(model, LoadedModel) else model
