"""The token that a recommendation carries and a play brings back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attribution import LONGEST, Attribution, parsed
from app.domain.errors import InvalidRequest

ALIASES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
NONCES = st.from_regex(r"[A-Za-z0-9_-]{8,32}", fullmatch=True)


@given(
    alias=ALIASES,
    model_id=IDS,
    generation=st.integers(0, 2**31),
    issued_at_ms=st.integers(0, 253_402_300_799_999),
    nonce=NONCES,
)
def test_what_a_token_says_is_read_back_and_fits_a_url(
    alias: str, model_id: str, generation: int, issued_at_ms: int, nonce: str
) -> None:
    told = Attribution(alias, model_id, generation, issued_at_ms, nonce)

    assert parsed(told.token) == told
    assert len(told.token) <= LONGEST
    assert re.fullmatch(r"[A-Za-z0-9._-]+", told.token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "v2.production.mdl_a.1.5.abcdefgh",
        "v1.production.mdl_a.1.5",
        "v1.Production.mdl_a.1.5.abcdefgh",
        "v1.production.mdl_a.01.5.abcdefgh",
        "v1.production.mdl_a.1.5.short",
        "v1.production.mdl_a.1.5.abcdefgh\n",
        "v1.production.mdl a.1.5.abcdefgh",
        "x" * 10_000,
    ],
)
def test_what_no_answer_carries_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(token)

    assert caught.value.pointer == "/attribution"
