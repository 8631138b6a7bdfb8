"""The three small matrix products of training, as vector code that LLVM turns into the machine's own instructions.

Left to itself LLVM vectorises loops over two or three rows and gives up on more, for it cannot prove that they do not
overlap: 4 to 35 GFLOP/s were measured where the same products written out here do 75 to 115, the machine's own sgemm
rate. It runs on any processor that Numba compiles for: VECTOR floats become one, two or four registers.

Notation: B = `lanes` pairs trained together, K = `n` songs drawn as negatives for all of them, D = `width` floats a
row, a multiple of VECTOR. X `(B, D)` are the pairs' input vectors, V `(K, D)` the negatives' output vectors, G
`(K, B)` a number for each of both. All are C-contiguous float32 arrays that do not overlap.

    products  G = V X^T      V and G have rows to the next multiple of TILE, which may hold anything finite
    errors    E = E + G^T V  E is `(B, D)`
    moves     V = G X        V is overwritten

B is a multiple of TILE and known when the code is compiled (a literal): lanes are written out, their sums stay in
registers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

VECTOR = 16
"""Floats handled at once: a register of AVX-512, two of AVX2, four of NEON."""

TILE = 4
"""Rows of either matrix whose inner products are summed at once: TILE x TILE sums."""

_FLOAT = ir.FloatType()
_ROW = ir.VectorType(_FLOAT, VECTOR)
_INT = ir.IntType(32)
_SIZE = ir.IntType(64)
_ZERO = ir.Constant(_ROW, [0.0] * VECTOR)
_ANYTHING = ir.Constant(_ROW, ir.Undefined)
_FIRST_LANE = ir.Constant(ir.VectorType(_INT, VECTOR), [0] * VECTOR)

Value = Any
"""A value of the program that is written, or a number known while it is."""


class _Code:
    """Writes instructions; offsets count floats."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    @contextmanager
    def steps(self, end: Value, by: int) -> Iterator[Value]:
        """A loop from 0 to `end`."""
        with cgutils.for_range_slice(self.builder, _size(0), end, _size(by)) as (at, _):
            yield at

    def offset(self, row: Value, width: Value, column: Value) -> Value:
        """Where a place of a matrix lies."""
        return self.builder.add(self.builder.mul(_size(row), _size(width)), _size(column))

    def plus(self, value: Value, number: int) -> Value:
        return self.builder.add(value, _size(number))

    def load(self, base: Value, offset: Value) -> Value:
        return self.builder.load(self._row_at(base, offset), align=4)

    def store(self, row: Value, base: Value, offset: Value) -> None:
        self.builder.store(row, self._row_at(base, offset), align=4)

    def variable(self, value: Value = _ZERO) -> Value:
        """Something that holds VECTOR floats, at first `value`."""
        place = cgutils.alloca_once(self.builder, _ROW)
        self.builder.store(value, place)
        return place

    def add_product(self, place: Value, left: Value, right: Value) -> None:
        """Add the product of two rows, place by place."""
        self.builder.store(self.product_sum(left, right, self.builder.load(place)), place)

    def product_sum(self, left: Value, right: Value, total: Value) -> Value:
        function = self._function(f"llvm.fmuladd.v{VECTOR}f32", ir.FunctionType(_ROW, [_ROW] * 3))
        return self.builder.call(function, [left, right, total])

    def spread(self, base: Value, offset: Value) -> Value:
        """One number in all places of a row."""
        number = self.builder.load(self.builder.gep(base, [offset]))
        row = self.builder.insert_element(_ANYTHING, number, ir.Constant(_INT, 0))
        return self.builder.shuffle_vector(row, _ANYTHING, _FIRST_LANE)

    def store_total(self, place: Value, base: Value, offset: Value) -> None:
        """Store the sum over the places of a row, in any order."""
        function = self._function(f"llvm.vector.reduce.fadd.v{VECTOR}f32", ir.FunctionType(_FLOAT, [_FLOAT, _ROW]))
        start = ir.Constant(_FLOAT, 0.0)
        total = self.builder.call(function, [start, self.builder.load(place)], fastmath=("reassoc",))
        self.builder.store(total, self.builder.gep(base, [offset]))

    def fetch(self, base: Value, offset: Value) -> None:
        """Ask for the cache line at this place, which will soon be read and written."""
        byte = ir.IntType(8).as_pointer()
        function = self._function("llvm.prefetch.p0", ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT]))
        place = self.builder.bitcast(self.builder.gep(base, [offset]), byte)
        self.builder.call(function, [place, *(ir.Constant(_INT, number) for number in (1, 3, 1))])

    def _row_at(self, base: Value, offset: Value) -> Value:
        return self.builder.bitcast(self.builder.gep(base, [offset]), _ROW.as_pointer())

    def _function(self, name: str, kind: ir.FunctionType) -> Value:
        return cgutils.get_or_insert_function(self.builder.module, kind, name)


def _size(value: Value) -> Value:
    return ir.Constant(_SIZE, value) if isinstance(value, int) else value


Write = Callable[..., None]


def _product(write: Write) -> Any:  # noqa: ANN401 - what Numba calls an intrinsic
    """A function for compiled code: (matrix, matrix, matrix, n, width, lanes)."""

    def typed(_context: Any, a: Any, b: Any, c: Any, n: Any, width: Any, lanes: Any) -> Any:  # noqa: ANN401
        if not isinstance(lanes, types.IntegerLiteral):
            raise RequireLiteralValue(lanes)

        def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
            data = [make_array(signature.args[i])(context, builder, arguments[i]).data for i in range(3)]
            write(_Code(builder), *data, arguments[3], arguments[4], lanes.literal_value)
            return context.get_dummy_value()

        return types.void(a, b, c, n, width, lanes), lower

    typed.__name__ = write.__name__
    return intrinsic(typed)


@_product
def products(code: _Code, x: Value, v: Value, g: Value, n: Value, width: Value, lanes: int) -> None:
    """G = V X^T, for arguments (X, V, G, n, width, lanes)."""
    with code.steps(n, TILE) as k:
        for first in range(0, lanes, TILE):
            sums = [[code.variable() for _ in range(TILE)] for _ in range(TILE)]
            with code.steps(width, VECTOR) as d:
                inputs = [code.load(x, code.offset(first + b, width, d)) for b in range(TILE)]
                for i in range(TILE):
                    negative = code.load(v, code.offset(code.plus(k, i), width, d))
                    for b in range(TILE):
                        code.add_product(sums[i][b], inputs[b], negative)
            for i in range(TILE):
                for b in range(TILE):
                    code.store_total(sums[i][b], g, code.offset(code.plus(k, i), lanes, first + b))


@_product
def errors(code: _Code, e: Value, v: Value, g: Value, n: Value, width: Value, lanes: int) -> None:
    """E = E + G^T V, for arguments (E, V, G, n, width, lanes)."""
    with code.steps(width, VECTOR) as d:
        sums = [code.variable(code.load(e, code.offset(b, width, d))) for b in range(lanes)]
        with code.steps(n, 1) as k:
            negative = code.load(v, code.offset(k, width, d))
            for b in range(lanes):
                code.add_product(sums[b], code.spread(g, code.offset(k, lanes, b)), negative)
        for b in range(lanes):
            code.store(code.builder.load(sums[b]), e, code.offset(b, width, d))


@_product
def moves(code: _Code, v: Value, x: Value, g: Value, n: Value, width: Value, lanes: int) -> None:
    """V = G X, for arguments (V, X, G, n, width, lanes)."""
    with code.steps(width, VECTOR) as d:
        inputs = [code.load(x, code.offset(b, width, d)) for b in range(lanes)]
        with code.steps(n, 1) as k:
            total = _ZERO
            for b in range(lanes):
                total = code.product_sum(code.spread(g, code.offset(k, lanes, b)), inputs[b], total)
            code.store(total, v, code.offset(k, width, d))


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def fetch_row(_context: Any, matrix: Any, row: Any) -> Any:  # noqa: ANN401
    """Ask for a row of a C-contiguous matrix to be brought near; nothing else happens."""

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        array = make_array(signature.args[0])(context, builder, arguments[0])
        code, width = _Code(builder), builder.extract_value(array.shape, 1)
        with code.steps(width, VECTOR) as d:
            code.fetch(array.data, code.offset(arguments[1], width, d))
        return context.get_dummy_value()

    return types.void(matrix, row), lower
