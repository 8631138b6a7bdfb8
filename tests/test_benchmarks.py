"""The benchmarks still run: their parts, at a size that says nothing about cost."""

import sys
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from app.domain.training import TrainingParameters
from tests.benchmarks import article, article_script, linear, memory, pruning, suggesting, tables


@pytest.mark.slow
def test_the_article_is_compared_by_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plays = tmp_path / "plays.parquet"
    article.write_plays(plays, n_songs=200, n_plays=4_000)
    done = article.compared(plays, sample=0.5, n_trials=2, n_looped=40, seed=0)
    assert [len(side.points) for side in (done.segue, done.script, done.same)] == [2, 2, 2]
    assert done.same.cost == done.script.cost
    assert done.n_pairs == 40
    assert done.scale > 1
    assert done.prepared_s > 0
    article.report(done, n_looped=40)
    assert "script / Segue" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_script_goes_on_where_its_first_points_were_good() -> None:
    sessions = [[str(song % 50) for song in range(start, start + 8)] for start in range(200)]
    pairs = [(str(song), str((song + 1) % 50)) for song in range(50)]
    run = article_script.tune(sessions, pairs, n_trials=7, seed=0)
    assert len(run.trials) == 7
    assert run.best.objective == max(trial.objective for trial in run.trials)
    assert 0 < run.best.objective <= 1


def test_the_script_scores_a_pair_by_the_rank_of_its_target() -> None:
    vectors = KeyedVectors(2)
    vectors.add_vectors(["a", "b", "c"], np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32))
    pairs = [("a", "b"), ("a", "c"), ("a", "a"), ("z", "a")]
    second = 0.5 + 0.5 / np.log2(3)
    assert article_script.mean_objective(vectors, pairs) == pytest.approx((1 + second) / 3)


@pytest.mark.skipif(sys.platform != "linux", reason="It reads /proc.")
def test_memory_is_measured_in_every_phase_of_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    size = memory.Size(n_songs=3_000, dim=8, n_plays=6_000, n_pairs=50)
    peaks = memory.measured(size)
    assert set(peaks.by_phase) == {"load", "train", "evaluate", "write"}
    assert peaks.whole > peaks.at_start > 0
    memory.report(size, peaks)
    assert "both matrices" in capsys.readouterr().out


def test_training_cost_is_measured_and_drawn(tmp_path: Path) -> None:
    costs = linear.measured([0.002, 0.004], n_songs=200, n_rounds=2)
    assert [cost.cpu_s > 0 for cost in costs] == [True, True]
    linear.draw(costs, tmp_path / "first.svg")
    linear.draw(costs, tmp_path / "second.svg")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_the_exponent_of_a_power_law_is_found() -> None:
    costs = [linear.Cost(n, 1e-6 * n**1.2) for n in (1_000, 3_000, 20_000)]
    assert linear.exponent(costs) == pytest.approx(1.2)


def near(parameters: TrainingParameters) -> float:
    """A response over the article's space that is best at a rate of 0.03."""
    return 0.3 - abs(float(np.log10(parameters.alpha / 0.03))) / 10


@pytest.fixture
def table() -> tables.Table:
    return tables.Table(tables.Row("near", parameters, near(parameters)) for parameters in tables.points(48))


def test_a_table_gives_back_what_was_measured_and_foretells_the_rest(table: tables.Table) -> None:
    for parameters in tables.points(48):
        assert table(parameters) == pytest.approx(near(parameters), abs=1e-6)
    assert len(table) == 48
    assert table.best > 0.28
    assert table.explained() > 0.5


def test_a_table_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "table.jsonl"
    rows = [tables.Row("near", parameters, near(parameters)) for parameters in tables.points(3)]
    assert tables.read([file]) == {}
    for row in rows:
        tables.write(file, row)
    assert tables.read([file]) == {"near": rows}
    assert tables.points(5)[:3] == tables.points(3)


def test_samplers_are_compared_on_a_table(table: tables.Table, capsys: pytest.CaptureFixture[str]) -> None:
    found = suggesting.compared(table, best=table.best, seeds=range(2), noise=0.0)
    assert {"bayesian", "random", "optuna tpe"} <= found.keys()
    for searches in found.values():
        assert [0 < search.best <= table.best * 1.01 for search in searches] == [True, True]
    suggesting.report(found, best=table.best)
    assert "of the best" in capsys.readouterr().out


def test_suggestions_are_timed() -> None:
    assert suggesting.suggestion_s("extended", n_trials=20, n_times=1) > 0


def test_what_pruning_costs_and_spares_is_told_beside_the_same_seeds_without() -> None:
    whole = [pruning.Run(best=0.30, test=0.2, n_epochs=72, train_s=10.0, n_pruned=0) for _ in range(2)]
    halved = [pruning.Run(best=best, test=0.2, n_epochs=36, train_s=6.0, n_pruned=18) for best in (0.29, 0.31)]
    told = pruning.table({"none": whole, "halving": halved})
    assert "worse in 1 of 2" in told
    assert "spares 50% of the epochs, 40% of the training seconds" in told
