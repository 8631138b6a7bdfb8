"""The vectors of a trial survive the disk, and damage is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.adapters.vectors import read_vectors, vectors_sha256, write_vectors
from app.domain.embedding import Embeddings
from app.domain.errors import DamagedArtifact, StorageFull


@pytest.fixture
def embeddings() -> Embeddings:
    rng = np.random.default_rng(1)
    return Embeddings(
        rng.normal(size=(5, 3)).astype(np.float32),
        rng.normal(size=(5, 3)).astype(np.float32),
        np.array([True, True, False, True, False]),
    )


def test_vectors_come_back_as_they_were(tmp_path: Path, embeddings: Embeddings) -> None:
    write_vectors(tmp_path, embeddings)
    read = read_vectors(tmp_path)
    assert np.array_equal(read.input, embeddings.input)
    assert np.array_equal(read.output, embeddings.output)
    assert np.array_equal(read.is_known, embeddings.is_known)


def test_the_checksum_names_the_values_and_not_their_layout(tmp_path: Path, embeddings: Embeddings) -> None:
    turned = Embeddings(np.asfortranarray(embeddings.input), embeddings.output, embeddings.is_known)
    assert write_vectors(tmp_path, embeddings) == vectors_sha256(turned) == vectors_sha256(read_vectors(tmp_path))


def test_the_checksum_tells_any_difference(embeddings: Embeddings) -> None:
    changed = embeddings.output.copy()
    changed[4, 2] += 1e-6
    others = [
        Embeddings(embeddings.output, embeddings.input, embeddings.is_known),
        Embeddings(embeddings.input, changed, embeddings.is_known),
        Embeddings(embeddings.input, embeddings.output, ~embeddings.is_known),
        Embeddings(embeddings.input.reshape(3, 5), embeddings.output.reshape(3, 5), embeddings.is_known),
    ]
    assert len({vectors_sha256(each) for each in [embeddings, *others]}) == 5


def test_a_trial_without_songs_can_be_stored(tmp_path: Path) -> None:
    nothing = np.zeros((0, 3), dtype=np.float32)
    write_vectors(tmp_path, Embeddings(nothing, nothing, np.zeros(0, dtype=np.bool_)))
    assert read_vectors(tmp_path).input.shape == (0, 3)


def lose_output(folder: Path) -> None:
    (folder / "output.npy").unlink()


def cut_input(folder: Path) -> None:
    (folder / "input.npy").write_bytes((folder / "input.npy").read_bytes()[:-4])


def pickle_known(folder: Path) -> None:
    np.save(folder / "known.npy", np.array([None, 1], dtype=object), allow_pickle=True)


def widen_input(folder: Path) -> None:
    np.save(folder / "input.npy", np.zeros((5, 3), dtype=np.float64))


def shorten_output(folder: Path) -> None:
    np.save(folder / "output.npy", np.zeros((4, 3), dtype=np.float32))


def lengthen_known(folder: Path) -> None:
    np.save(folder / "known.npy", np.zeros(6, dtype=np.bool_))


def pack_input(folder: Path) -> None:
    np.savez(folder / "packed.npz", a=np.zeros(1, dtype=np.float32))
    (folder / "packed.npz").rename(folder / "input.npy")


@pytest.mark.parametrize(
    "damage", [lose_output, cut_input, pickle_known, widen_input, shorten_output, lengthen_known, pack_input]
)
def test_what_are_no_vectors_is_refused(tmp_path: Path, embeddings: Embeddings, damage: Callable[[Path], None]) -> None:
    write_vectors(tmp_path, embeddings)
    damage(tmp_path)
    with pytest.raises(DamagedArtifact):
        read_vectors(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_is_told_as_such(tmp_path: Path, embeddings: Embeddings) -> None:
    (tmp_path / "output.npy").symlink_to("/dev/full")
    with pytest.raises(StorageFull):
        write_vectors(tmp_path, embeddings)
