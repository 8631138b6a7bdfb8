"""What became of each held-out pair of one trial on disk: one compressed file a set of pairs, validation or test.

    <set>.npz   ranks uint8 (n_pairs,)   segment uint8 (n_pairs,)   segments: the names, text

One or two bytes a pair before they are compressed. Plain arrays, never pickled objects.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from app.adapters.disk import naming_a_full_disk
from app.domain.errors import DamagedArtifact
from app.domain.pairing import PairRanks

PairSet = Literal["validation", "test"]


def write_ranks(folder: Path, ranks: Mapping[PairSet, PairRanks]) -> None:
    """Write them into an existing folder. Raises: StorageFull."""
    with naming_a_full_disk():
        for name, pairs in ranks.items():
            np.savez_compressed(
                folder / f"{name}.npz",
                allow_pickle=False,
                ranks=pairs.ranks,
                segment=pairs.segment,
                segments=np.array(pairs.segments, dtype=np.str_),
            )


def read_ranks(folder: Path, pair_set: PairSet = "validation") -> PairRanks:
    """The ranks of one set. Raises: DamagedArtifact when they are not what `write_ranks` leaves."""
    try:
        # The file is opened here: where it is damaged, NumPy would leave it open.
        with (folder / f"{pair_set}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            ranks, segment = arrays["ranks"], arrays["segment"]
            segments = tuple(str(name) for name in arrays["segments"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedArtifact(f"The stored ranks have no readable {pair_set}.npz.") from error
    is_whole = ranks.dtype == segment.dtype == np.uint8 and ranks.ndim == 1 and ranks.shape == segment.shape
    if not is_whole or segment.max(initial=0) >= max(1, len(segments)):
        raise DamagedArtifact(f"The stored ranks' {pair_set}.npz does not hold the rank and segment of each pair.")
    return PairRanks(ranks, segment, segments)
