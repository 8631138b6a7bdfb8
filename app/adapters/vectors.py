"""The vectors of one trial on disk: float32 `(n_songs, dim)` input.npy and output.npy, bool `(n_songs,)` known.npy.

Plain arrays, never pickled objects.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.adapters.disk import naming_a_full_disk
from app.domain.embedding import Embeddings
from app.domain.errors import DamagedArtifact

_DTYPES = {"input": np.dtype(np.float32), "output": np.dtype(np.float32), "known": np.dtype(np.bool_)}


def write_vectors(folder: Path, embeddings: Embeddings) -> str:
    """Write the arrays into an existing folder; gives their `vectors_sha256`. Raises: StorageFull."""
    arrays = _arrays(embeddings)
    with naming_a_full_disk():
        for name, array in arrays.items():
            _write_array(folder / f"{name}.npy", array)
    return _sha256(arrays)


def read_vectors(folder: Path) -> Embeddings:
    """The arrays, in memory. Raises: DamagedArtifact when they are not what `write_vectors` leaves."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, dtype in _DTYPES.items():
        try:
            array = np.load(folder / f"{name}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedArtifact(f"The stored vectors have no readable {name}.npy.") from error
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise DamagedArtifact(f"The stored vectors' {name}.npy does not hold {dtype}.")
        arrays[name] = array
    embeddings = Embeddings(arrays["input"], arrays["output"], arrays["known"])  # type: ignore[arg-type]
    if embeddings.input.ndim != 2 or embeddings.input.shape != embeddings.output.shape:
        raise DamagedArtifact("The stored vectors' input and output differ in shape.")
    if embeddings.is_known.shape != embeddings.input.shape[:1]:
        raise DamagedArtifact("The stored vectors do not tell for each song whether it is known.")
    return embeddings


def vectors_sha256(embeddings: Embeddings) -> str:
    """The SHA-256 of names, shapes and values: equal vectors have an equal one, however they are stored."""
    return _sha256(_arrays(embeddings))


def _arrays(embeddings: Embeddings) -> dict[str, NDArray[np.generic]]:
    given: dict[str, NDArray[np.generic]] = {
        "input": embeddings.input,
        "output": embeddings.output,
        "known": embeddings.is_known,
    }
    return {name: np.ascontiguousarray(given[name], dtype=dtype) for name, dtype in _DTYPES.items()}


def _sha256(arrays: dict[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _write_array(path: Path, array: NDArray[np.generic]) -> None:
    """As `numpy.save`, but a full disk keeps its error number."""
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(_bytes(array))


def _bytes(array: NDArray[np.generic]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
