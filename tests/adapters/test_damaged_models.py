"""A damaged model is refused before any of its files is parsed, and the model before it serves on."""

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from app.adapters.artifacts import MANIFEST, FolderArtifactStore
from app.adapters.live_indexes import LiveIndexes
from app.adapters.model_files import load_model
from app.domain.models import Alias, IndexLimits
from app.domain.serving import AliasTarget, LiveModel
from tests.adapters.test_model_files import scored, song_table, write

N_SONGS = 300
N_TRUNCATIONS = 64
N_FLIPS = 1_000
N_MANIFEST_FLIPS = 100
OLD, NEXT = "mdl_1", "mdl_2"


class Server:
    """A follower of one alias that serves the old model and is told to serve the next; `parsed` are those it read."""

    def __init__(self, root: Path) -> None:
        self.store = FolderArtifactStore(root)
        self.parsed: list[str] = []
        self._wanted = OLD
        self._generation = 1
        self._now_s = 0.0
        for model_id in (OLD, NEXT):
            self.publish(model_id)
        self._pristine = root / "pristine"
        shutil.copytree(self.folder, self._pristine)
        self.live = LiveIndexes(
            targets=lambda: [self._target()], store=self.store, load=self._load, monotonic=lambda: self._now_s
        )
        self.live.look()
        self.parsed.clear()

    @property
    def folder(self) -> Path:
        """The next model's files."""
        return self.store.open("models", f"{NEXT}-1")

    def publish(self, model_id: str, change: Callable[[Path], object] | None = None) -> None:
        """Write the model and publish it, changed before its checksums are taken."""
        with self.store.stage() as staged:
            write(
                staged,
                rows=scored(n=N_SONGS),
                songs=song_table(N_SONGS),
                limits=IndexLimits(neighbours_kept=8, flat_up_to=100),
            )
            if change is not None:
                change(staged)
            self.store.publish(staged, "models", f"{model_id}-1")

    def refusal(self, damage: Callable[[Path], object]) -> str | None:
        """Damage a fresh copy of the next model and promote it; why it is refused, None when it serves."""
        folder = self.folder
        damage(folder)
        try:
            return self.refusal_of_what_is_there()
        finally:
            shutil.rmtree(folder)
            shutil.copytree(self._pristine, folder)

    def refusal_of_what_is_there(self) -> str | None:
        """Promote the next model as it is, and then the old one again."""
        self._move(NEXT)
        (status,) = self.live.status().aliases
        assert self.live.status().is_ready
        assert status.live_model_id == (OLD if status.error else NEXT)
        answers = self.live.get("production").model.neighbours(7, 3)
        assert len(answers) == 3
        self._move(OLD)
        return status.error

    def _move(self, model_id: str) -> None:
        self._wanted = model_id
        self._generation += 1
        self._now_s += 1e6  # past any pause after a failure
        self.live.look()

    def _target(self) -> AliasTarget:
        alias = Alias(
            name="production", model_id=self._wanted, generation=self._generation, updated_at=datetime.now(UTC)
        )
        return AliasTarget(alias, files=f"{self._wanted}-1")

    def _load(self, folder: Path, model_id: str) -> LiveModel:
        if model_id == NEXT:
            self.parsed.append(model_id)
        return load_model(folder, model_id)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def places(folder: Path, n: int, *, seed: int) -> list[tuple[str, int]]:
    """File and offset of n bytes drawn from all of the folder's but the manifest's; each file has some."""
    rng = np.random.default_rng(seed)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    names = [name for name, size in sizes.items() if size]
    drawn = [names[turn % len(names)] for turn in range(n)]
    return [(name, int(rng.integers(0, sizes[name]))) for name in drawn]


def cut(folder: Path, name: str, offset: int) -> None:
    """Leave the file's first bytes."""
    with (folder / name).open("r+b") as file:
        file.truncate(offset)


def flip(folder: Path, name: str, offset: int, bit: int) -> None:
    """Turn one bit of the file."""
    with (folder / name).open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def swap(folder: Path, first: str, second: str) -> None:
    """Give each of two files the other's name."""
    (folder / first).rename(folder / "aside")
    (folder / second).rename(folder / first)
    (folder / "aside").rename(folder / second)


def test_the_next_model_serves_when_nothing_is_wrong_with_it(server: Server) -> None:
    assert server.refusal(lambda _folder: None) is None
    assert server.parsed == [NEXT]


def test_a_file_cut_short_anywhere_is_refused_unread(server: Server) -> None:
    for name, offset in places(server.folder, N_TRUNCATIONS, seed=0):
        reason = server.refusal(lambda folder, name=name, offset=offset: cut(folder, name, offset))  # type: ignore[misc]
        assert reason is not None, (name, offset)
        assert name in reason
    assert server.parsed == []


def test_a_single_bit_turned_anywhere_is_refused_unread(server: Server) -> None:
    bits = np.random.default_rng(2).integers(0, 8, N_FLIPS).tolist()
    folder = server.folder
    for (name, offset), bit in zip(places(folder, N_FLIPS, seed=1), bits, strict=True):
        flip(folder, name, offset, bit)
        reason = server.refusal_of_what_is_there()
        assert reason is not None, (name, offset, bit)
        assert name in reason
        flip(folder, name, offset, bit)
    assert server.parsed == []
    assert server.refusal_of_what_is_there() is None


def test_a_bit_turned_in_the_manifest_never_changes_what_is_served(server: Server) -> None:
    """It may turn one in a word that nothing depends on: then the files are whole, and the model is the same."""
    folder = server.folder
    size = (folder / MANIFEST).stat().st_size
    rng = np.random.default_rng(3)
    n_refused = 0
    for offset, bit in zip(rng.integers(0, size, N_MANIFEST_FLIPS), rng.integers(0, 8, N_MANIFEST_FLIPS), strict=True):
        flip(folder, MANIFEST, int(offset), int(bit))
        n_refused += server.refusal_of_what_is_there() is not None
        flip(folder, MANIFEST, int(offset), int(bit))
    assert n_refused > N_MANIFEST_FLIPS / 2


@pytest.mark.parametrize(
    ("first", "second"), [("neighbours.npy", "neighbour_scores.npy"), ("vectors.npy", "index.faiss")]
)
def test_two_files_swapped_are_refused_unread(server: Server, first: str, second: str) -> None:
    reason = server.refusal(lambda folder: swap(folder, first, second))
    assert reason is not None
    assert first in reason or second in reason
    assert server.parsed == []


def declaring(shape: Sequence[int], name: str) -> Callable[[Path], None]:
    """Make the file's header declare the shape, whatever follows it."""

    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        with (folder / name).open("wb") as file:
            header = {"descr": npy.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": tuple(shape)}
            npy.write_array_header_1_0(file, header)
            file.write(content[128:])

    return change


def telling(**changes: object) -> Callable[[Path], None]:
    """Make the model's own description tell something else of its index."""

    def change(folder: Path) -> None:
        told = json.loads((folder / "model.json").read_text())
        told["index"] |= changes
        (folder / "model.json").write_text(json.dumps(told))

    return change


@pytest.mark.parametrize(
    "change",
    [
        declaring((N_SONGS - 2, 5), "vectors.npy"),
        declaring((10**9, 10**6), "vectors.npy"),
        declaring((2**62, 2**62), "vectors.npy"),
        declaring((N_SONGS - 2, 10**12), "neighbour_scores.npy"),
        telling(dim=5),
        telling(dim=10**12),
        telling(n_songs=10**15),
        telling(n_neighbours=10**9),
        telling(kind="flat", coding="nothing"),
        telling(coding="int8"),
    ],
    ids=[
        "dim",
        "huge",
        "beyond 64 bits",
        "huge table",
        "told dim",
        "told huge dim",
        "told songs",
        "told table",
        "coding",
        "other coding",
    ],
)
def test_a_model_written_wrong_under_right_checksums_is_refused(server: Server, change: Callable[[Path], None]) -> None:
    server.publish(NEXT, change)
    assert server.refusal_of_what_is_there() is not None


class Planted:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._trace,))


@pytest.mark.parametrize(
    "name",
    ["vectors.npy", "neighbours.npy", "history_songs.npy", "index.faiss", "songs.arrow", "words.arrow", "model.json"],
)
def test_a_planted_pickle_is_never_run(server: Server, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"

    def plant(folder: Path) -> None:
        (folder / name).unlink()
        np.save(folder / "planted.npy", np.array([Planted(trace)], dtype=object), allow_pickle=True)
        (folder / "planted.npy").rename(folder / name)

    server.publish(NEXT, plant)
    assert server.refusal_of_what_is_there() is not None
    assert not trace.exists()


def test_a_planted_pickle_would_leave_a_trace(tmp_path: Path) -> None:
    np.save(tmp_path / "planted.npy", np.array([Planted(tmp_path / "trace")], dtype=object), allow_pickle=True)
    np.load(tmp_path / "planted.npy", allow_pickle=True)
    assert (tmp_path / "trace").exists()
