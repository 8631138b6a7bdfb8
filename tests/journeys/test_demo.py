"""The demo, as a stranger runs it, with a study cut short."""

import os
import subprocess
import sys
from pathlib import Path

from app.demo.tables import winning_plain_baseline

ROOT = Path(__file__).parents[2]
LIMIT_S = 240


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", *arguments],
        env=os.environ | {"COLUMNS": "120"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_the_demo_goes_from_plays_to_recommendations(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = demo("--n-initial", "1", "--n-iterations", "1", "--data-dir", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "39,190",
        "tuned by Segue",
        "co-occurrence ±5",
        "is live as 'production'",
        "The ten songs nearest to As We Float by The American Dollar",
        "Ten recommendations for listener-1",
        "where the time went",
        "/v1/users/listener-1/recommendations",
    ):
        assert told in done.stdout
    assert "Asked to stop" in (folder / "service.log").read_text()


def test_a_demo_that_cannot_start_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "segue.db").write_bytes(b"not a database" * 100)
    done = demo("--data-dir", str(folder))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


def measured(name: str, hit_ratio: float) -> dict[str, object]:
    return {"name": name, "test": {"overall": {"hit_ratio": {"value": hit_ratio}}}}


def test_a_plain_baseline_that_wins_is_named() -> None:
    winner = measured("winner_on_test", 0.2)
    others = [measured("gensim_defaults", 0.9), measured("next_song", 0.3), measured("co_occurrence", 0.4)]
    assert winning_plain_baseline(winner, others) == "co-occurrence ±5"


def test_no_plain_baseline_is_named_that_does_not_win() -> None:
    assert winning_plain_baseline(measured("winner_on_test", 0.5), [measured("next_song", 0.3)]) is None
    assert winning_plain_baseline(None, [measured("next_song", 0.3)]) is None
