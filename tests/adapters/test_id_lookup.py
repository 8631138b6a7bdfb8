"""Rows by id and texts by row: the same answers as a dict and a list give."""

import gc
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.id_lookup import BATCH_ROWS, IdLookup, TextColumn, texts_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def column(*chunks: list[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())


class TestIdLookup:
    @given(st.lists(TEXTS, unique=True, max_size=60), st.lists(TEXTS, max_size=20))
    def test_it_answers_as_a_dict_does(self, ids: list[str], others: list[str]) -> None:
        lookup = IdLookup(ids)
        expected = {text: row for row, text in enumerate(ids)}

        assert [lookup.row(text) for text in ids + others] == [expected.get(text) for text in ids + others]
        assert lookup.rows(ids + others).tolist() == [expected.get(text, -1) for text in ids + others]

    @pytest.mark.parametrize("n_hashes", [1, 3])
    def test_ids_with_equal_hashes_are_told_apart(self, n_hashes: int) -> None:
        ids = [f"song-{row}" for row in range(50)]
        lookup = IdLookup(ids, hash_of=lambda text: len(str(text)) * 31 + ord(str(text)[-1]) % n_hashes)

        assert [lookup.row(text) for text in ids] == list(range(50))
        assert lookup.row("song-xx") is None

    def test_hashes_are_ordered_over_the_whole_range_of_64_bits(self) -> None:
        hashes = {"least": -(2**63), "none": 0, "most": 2**63 - 1}
        lookup = IdLookup(list(hashes), hash_of=lambda text: hashes.get(str(text), 1))

        assert [lookup.row(text) for text in (*hashes, "other")] == [0, 1, 2, None]

    def test_more_ids_than_one_batch_are_all_found(self) -> None:
        ids = [f"{row:x}" for row in range(2 * BATCH_ROWS + 1)]
        lookup = IdLookup(TextColumn(pa.chunked_array([ids])))

        assert lookup.rows(ids).tolist() == list(range(len(ids)))
        assert len(lookup) == len(ids)

    def test_text_that_no_id_can_be_is_simply_not_there(self) -> None:
        assert IdLookup(["a"]).row("\ud800") is None

    @given(st.lists(TEXTS, max_size=30), st.sampled_from([hash, len]))
    def test_twins_are_ids_that_are_there_twice(self, ids: list[str], hash_of: Callable[[Any], int]) -> None:
        assert IdLookup(ids, hash_of=hash_of).has_twins() is (len(set(ids)) < len(ids))

    def test_no_ids_hold_none(self) -> None:
        assert IdLookup([]).row("a") is None
        assert IdLookup([]).rows([]).tolist() == []


class TestTexts:
    @given(st.lists(st.lists(st.none() | TEXTS, max_size=10), max_size=4))
    def test_a_column_reads_as_the_list_of_its_texts(self, chunks: list[list[str | None]]) -> None:
        expected = [text for chunk in chunks for text in chunk]

        assert list(texts_of(column(*chunks), listed=0)) == expected
        assert list(texts_of(column(*chunks))) == expected

    def test_only_a_long_column_stays_in_one_buffer(self) -> None:
        assert isinstance(texts_of(column(["a", "b"]), listed=2), tuple)
        assert isinstance(texts_of(column(["a", "b"]), listed=1), TextColumn)

    def test_texts_are_not_gone_through_for_garbage(self) -> None:
        texts = texts_of(column(["a", None, "c"]))
        gc.collect()

        assert not gc.is_tracked(texts)

    def test_a_slice_of_a_column_keeps_its_place(self) -> None:
        texts = TextColumn(column(["a", None, "c", "d"]).slice(1))

        assert [texts[0], texts[1], texts[0:2]] == [None, "c", [None, "c"]]

    @pytest.mark.parametrize("row", [-1, 2])
    def test_a_row_that_is_not_there_is_an_error(self, row: int) -> None:
        with pytest.raises(IndexError):
            TextColumn(column(["a", "b"]))[row]
