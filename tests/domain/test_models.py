"""What a rollback goes back to."""

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from app.domain.models import MODEL_MOVES, AliasMove, ModelState, model_before
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
    assert model_before([]) is None
    assert model_before([move(1, "a", "promotion")]) is None


def test_a_second_rollback_goes_further_back() -> None:
    moves = [move(1, "a", "promotion"), move(2, "b", "assignment"), move(3, "c", "promotion")]
    assert model_before(moves) == "b"
    assert model_before([*moves, move(4, "b", "rollback")]) == "a"


@given(st.permutations([move(1, "a", "promotion"), move(2, "b", "promotion"), move(3, "a", "rollback")]))
def test_the_order_of_the_list_does_not_matter(moves: list[AliasMove]) -> None:
    assert model_before(moves) is None


def test_an_ended_model_moves_no_more() -> None:
    assert MODEL_MOVES[ModelState.READY] == frozenset()
    assert MODEL_MOVES[ModelState.FAILED] == frozenset()
