"""What a rollback goes back to."""

from dataclasses import replace
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from app.domain.models import MODEL_MOVES, AliasMove, Bundle, ModelState, bundle_before
from tests.values import NOON

Reason = Literal["promotion", "assignment", "rollback"]


def move(generation: int, model_id: str, reason: Reason) -> AliasMove:
    return AliasMove(
        alias="production",
        generation=generation,
        model_id=model_id,
        previous_model_id=None,
        reason=reason,
        moved_at=NOON,
    )


def test_nothing_stands_before_the_first_model() -> None:
    assert bundle_before([]) is None
    assert bundle_before([move(1, "a", "promotion")]) is None


def test_a_second_rollback_goes_further_back() -> None:
    moves = [move(1, "a", "promotion"), move(2, "b", "assignment"), move(3, "c", "promotion")]
    assert bundle_before(moves) == Bundle(default="b")
    assert bundle_before([*moves, move(4, "b", "rollback")]) == Bundle(default="a")


@given(st.permutations([move(1, "a", "promotion"), move(2, "b", "promotion"), move(3, "a", "rollback")]))
def test_the_order_of_the_list_does_not_matter(moves: list[AliasMove]) -> None:
    assert bundle_before(moves) is None


def test_an_ended_model_moves_no_more() -> None:
    assert MODEL_MOVES[ModelState.READY] == frozenset()
    assert MODEL_MOVES[ModelState.FAILED] == frozenset()


def test_a_bundle_answers_for_each_segment_and_changes_one_member_at_a_time() -> None:
    bundle = Bundle(default="b", segments={"ar": "a"})
    assert [bundle.of(segment) for segment in ("ar", "en", None)] == ["a", "b", "b"]
    assert bundle.models() == ["b", "a"]
    assert bundle.with_member(None, "c") == Bundle(default="c", segments={"ar": "a"})
    assert bundle.with_member("en", "c").segments == {"ar": "a", "en": "c"}


def test_a_rollback_goes_back_to_the_whole_mapping() -> None:
    moves = [replace(move(1, "b", "promotion"), segments={"ar": "a"}), move(2, "c", "promotion")]
    assert bundle_before(moves) == Bundle(default="b", segments={"ar": "a"})
