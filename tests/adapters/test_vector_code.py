"""The small products against NumPy's. Rows that a product may not touch hold a number that would show."""

from typing import Any

import numpy as np
import pytest
from numba import literally, njit
from numba.core.errors import TypingError
from numpy.typing import NDArray

from app.adapters.vector_code import TILE, VECTOR, errors, fetch_row, moves, products

Floats = NDArray[np.float32]

LANES = (4, 8, 16)
WIDTHS = (16, 32, 48, 64)
COUNTS = range(1, 10)
MARK = 777.0


def compiled(python: Any) -> Any:  # noqa: ANN401 - Numba has no types
    return njit(python)


def _products(x: Floats, v: Floats, g: Floats, n: int, lanes: int) -> None:
    products(x, v, g, n, x.shape[1], literally(lanes))


def _errors(e: Floats, v: Floats, g: Floats, n: int, lanes: int) -> None:
    errors(e, v, g, n, e.shape[1], literally(lanes))


def _moves(v: Floats, x: Floats, g: Floats, n: int, lanes: int) -> None:
    moves(v, x, g, n, x.shape[1], literally(lanes))


call_products, call_errors, call_moves = compiled(_products), compiled(_errors), compiled(_moves)


def drawn(n_rows: int, width: int, *, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((n_rows, width), dtype=np.float32)


def rows_for(n: int) -> int:
    return (n + TILE - 1) // TILE * TILE


def with_marked_rows(matrix: Floats, n_more: int) -> Floats:
    return np.vstack((matrix, np.full((n_more, matrix.shape[1]), MARK, np.float32)))


def assert_close(got: Floats, expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("width", WIDTHS)
def test_products_are_inner_products_of_rows(lanes: int, width: int) -> None:
    for n in COUNTS:
        x, v = drawn(lanes, width, seed=n), drawn(n, width, seed=n + 100)
        before = x.copy(), with_marked_rows(v, rows_for(n) - n)
        padded = before[1].copy()
        g = np.full((rows_for(n) + 1, lanes), MARK, np.float32)
        call_products(x, padded, g, rows_for(n), lanes)
        assert_close(g[:n], v.astype(float) @ x.T.astype(float))
        assert (g[rows_for(n) :] == MARK).all()
        assert np.array_equal(x, before[0])
        assert np.array_equal(padded, before[1])


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("width", WIDTHS)
def test_products_write_whole_tiles_alone(lanes: int, width: int) -> None:
    """Asked for n rows that are no multiple of a tile, they fill the tile and stop there."""
    for n in COUNTS:
        x, v = drawn(lanes, width, seed=1), drawn(rows_for(n), width, seed=2)
        g = np.full((rows_for(n) + 2, lanes), MARK, np.float32)
        call_products(x, v, g, n, lanes)
        assert_close(g[: rows_for(n)], v.astype(float) @ x.T.astype(float))
        assert (g[rows_for(n) :] == MARK).all()


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("width", WIDTHS)
def test_errors_are_added_to_what_is_there(lanes: int, width: int) -> None:
    for n in COUNTS:
        e, v, g = drawn(lanes, width, seed=n), drawn(n, width, seed=n + 100), drawn(n, lanes, seed=n + 200)
        expected = e.astype(float) + g.T.astype(float) @ v.astype(float)
        negatives, steps = with_marked_rows(v, 3), with_marked_rows(g, 3)
        below = with_marked_rows(e, 1)
        call_errors(below, negatives, steps, n, lanes)
        assert_close(below[:lanes], expected)
        assert (below[lanes:] == MARK).all()
        assert np.array_equal(negatives, with_marked_rows(v, 3))
        assert np.array_equal(steps, with_marked_rows(g, 3))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("width", WIDTHS)
def test_moves_overwrite_n_rows_and_no_more(lanes: int, width: int) -> None:
    for n in COUNTS:
        x, g = drawn(lanes, width, seed=n), drawn(n, lanes, seed=n + 100)
        v = np.full((n + 3, width), MARK, np.float32)
        steps = with_marked_rows(g, 3)
        call_moves(v, x, steps, n, lanes)
        assert_close(v[:n], g.astype(float) @ x.astype(float))
        assert (v[n:] == MARK).all()
        assert np.array_equal(x, drawn(lanes, width, seed=n))
        assert np.array_equal(steps, with_marked_rows(g, 3))


@pytest.mark.parametrize("lanes", LANES)
def test_no_rows_change_nothing(lanes: int) -> None:
    x, other, g = drawn(lanes, 16, seed=1), drawn(TILE, 16, seed=2), drawn(TILE, lanes, seed=3)
    before = x.copy(), other.copy(), g.copy()
    for call in (call_products, call_errors):
        call(x, other, g, 0, lanes)
    call_moves(other, x, g, 0, lanes)
    for now, then in zip((x, other, g), before, strict=True):
        assert np.array_equal(now, then)


@pytest.mark.parametrize("product", [products, errors, moves], ids=["products", "errors", "moves"])
def test_lanes_must_be_known_when_the_code_is_compiled(product: Any) -> None:  # noqa: ANN401
    def unknown(a: Floats, b: Floats, c: Floats, lanes: int) -> None:
        product(a, b, c, 4, 16, lanes + len(a))

    matrix = np.zeros((4, 16), np.float32)
    with pytest.raises(TypingError, match="RequireLiteralValue"):
        compiled(unknown)(matrix, matrix.copy(), matrix.copy(), 0)


def test_fetching_a_row_changes_nothing() -> None:
    def fetched(matrix: Floats) -> int:
        for row in range(matrix.shape[0]):
            fetch_row(matrix, row)
        return 1

    fetch = compiled(fetched)
    for width in (1, VECTOR - 1, VECTOR, 100):
        matrix = drawn(7, width, seed=3)
        assert fetch(matrix) == 1
        assert np.array_equal(matrix, drawn(7, width, seed=3))
