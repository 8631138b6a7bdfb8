"""Ranks on disk: what is written comes back, and what is damaged is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.adapters.ranks import read_ranks, write_ranks
from app.domain.errors import DamagedArtifact
from app.domain.pairing import PairRanks

RANKS = PairRanks(np.array([0, 1, 255], np.uint8), np.array([1, 0, 1], np.uint8), ("ar", "mixed"))
WITHOUT_SEGMENTS = PairRanks(np.array([3], np.uint8), np.array([0], np.uint8), ())


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    write_ranks(tmp_path, {"validation": RANKS, "test": WITHOUT_SEGMENTS})
    for pair_set, written in (("validation", RANKS), ("test", WITHOUT_SEGMENTS)):
        read = read_ranks(tmp_path, pair_set)  # type: ignore[arg-type]
        assert read.ranks.tolist() == written.ranks.tolist()
        assert read.segment.tolist() == written.segment.tolist()
        assert read.segments == written.segments


def test_ten_thousand_pairs_take_less_than_a_byte_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ranks = np.where(rng.random(10_000) < 0.3, rng.integers(1, 11, 10_000), 0).astype(np.uint8)
    segment = rng.integers(0, 3, 10_000).astype(np.uint8)
    write_ranks(tmp_path, {"validation": PairRanks(ranks, segment, ("ar", "en", "fr"))})
    assert (tmp_path / "validation.npz").stat().st_size < 10_000


def test_ranks_that_are_not_there_or_cut_short_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedArtifact):
        read_ranks(tmp_path)
    write_ranks(tmp_path, {"validation": RANKS})
    path = tmp_path / "validation.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DamagedArtifact):
        read_ranks(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"ranks": np.zeros(2, np.int64), "segment": np.zeros(2, np.uint8)},
        {"ranks": np.zeros(2, np.uint8), "segment": np.zeros(3, np.uint8)},
        {"ranks": np.zeros(1, np.uint8), "segment": np.ones(1, np.uint8)},
        {"ranks": np.zeros(1, np.uint8)},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez(tmp_path / "validation.npz", allow_pickle=False, segments=np.array(["ar"]), **arrays)
    with pytest.raises(DamagedArtifact):
        read_ranks(tmp_path)
