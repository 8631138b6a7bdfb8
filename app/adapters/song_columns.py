"""What filters look at: the columns of a model's songs, each value a number, numbered when a request first asks.

Notation: n songs, named by their row; codes int32 `(n,)`, -1 where a song has no value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.adapters.mapped_tables import whole
from app.domain.filtering import Mask, Value, text_of

MASKS_KEPT = 16
"""Masks that are kept, of what was asked for last; one takes a byte a song."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A column's values by number, as filters write them."""

    of_song: NDArray[np.int32]
    number_of: dict[str, int]


class SongColumns:
    """Many threads may ask at once: two that ask first for the same column number it twice, to the same end."""

    def __init__(self, columns: pa.Table, *, told: Callable[[object], Value]) -> None:
        self._columns = columns
        self._told = told
        self._codes: dict[str, Codes] = {}
        self.names = tuple(columns.column_names)
        self._mask = lru_cache(maxsize=MASKS_KEPT)(self._made_mask)

    def carriers(self, column: str, values: tuple[str, ...]) -> Mask:
        """Which songs have one of the values; not to be changed."""
        return self._mask(column, values)

    def codes(self, column: str) -> Codes:
        """The column, numbered; not to be changed."""
        if column not in self._codes:
            self._codes[column] = _coded(self._columns.column(column), self._told)
        return self._codes[column]

    def _made_mask(self, column: str, values: tuple[str, ...]) -> Mask:
        codes = self.codes(column)
        wanted = np.zeros(len(codes.number_of) + 1, dtype=np.bool_)  # the last is for -1: none
        wanted[[codes.number_of[value] for value in values if value in codes.number_of]] = True
        mask: Mask = wanted[codes.of_song]
        mask.flags.writeable = False
        return mask


def _coded(column: pa.ChunkedArray, told: Callable[[object], Value]) -> Codes:
    if pa.types.is_nested(column.type):  # which Arrow does not number
        column = pa.chunked_array([pa.array([text_of(told(value)) for value in column.to_pylist()], pa.string())])
    encoded = whole(column).dictionary_encode()
    texts = [text_of(told(value)) for value in encoded.dictionary.to_pylist()]
    number_of = {text: number for number, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
    of_value = np.array([-1 if text is None else number_of[text] for text in texts] + [-1], dtype=np.int32)
    places = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return Codes(of_value[places], number_of)
