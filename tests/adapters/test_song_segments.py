"""Segments and durations as a songs table has them."""

import numpy as np
import pyarrow as pa
import pytest

from app.adapters.song_segments import durations_of, segments_of


class TestSegments:
    def test_songs_are_of_the_segment_that_the_column_names_and_most_played_first(self) -> None:
        found = segments_of(pa.table({"language": ["fr", None, "ar", "fr", "", "ar", "fr"]}), "language")

        assert found is not None
        assert found.names == ("ar", "fr")
        assert found.of_song.tolist() == [1, -1, 0, 1, -1, 0, 1]
        assert found.popular(0, 9).tolist() == [2, 5]
        assert found.popular(1, 2).tolist() == [0, 3]

    def test_numbers_name_segments_too(self) -> None:
        found = segments_of(pa.table({"decade": [1990, 1980, 1990]}), "decade")

        assert found is not None
        assert (found.names, found.of_song.tolist()) == (("1980", "1990"), [1, 0, 1])

    def test_a_column_without_a_value_has_no_segment(self) -> None:
        found = segments_of(pa.table({"language": pa.array([None, None], pa.string())}), "language")

        assert found is not None
        assert (found.names, found.of_song.tolist()) == ((), [-1, -1])

    @pytest.mark.parametrize("column", [None, "genre"])
    def test_without_the_column_there_are_none(self, column: str | None) -> None:
        assert segments_of(pa.table({"language": ["fr"]}), column) is None


class TestDurations:
    def test_milliseconds_are_made_seconds_and_nonsense_nan(self) -> None:
        found = durations_of(pa.table({"duration_ms": [1500, 0, None, -3]}))

        assert found is not None
        np.testing.assert_array_equal(found, np.array([1.5, np.nan, np.nan, np.nan], dtype=np.float32))

    def test_seconds_go_first(self) -> None:
        found = durations_of(pa.table({"duration_ms": [1500], "duration_s": [2.5]}))

        assert found is not None
        assert found.tolist() == [2.5]

    def test_text_is_no_duration(self) -> None:
        assert durations_of(pa.table({"duration_s": ["2:30"]})) is None
