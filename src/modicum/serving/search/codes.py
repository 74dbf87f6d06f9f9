"""Vectors in 8 bits: their inner products with a user are whole numbers, of an error that is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from modicum.errors import MissingExtraError
from modicum.serving.search.searching import require_memory

FIRST_BLOCK, LARGEST_BLOCK = 2**11, 2**16
"""Vectors of the first block, and of the largest; each has four times those of the one before."""

LEVELS = 63
"""Codes of users go from -63 to 63. Shifted to 1 to 127, and with vectors from -128 to 127, two
products fit into 16 bits, where processors without instructions for bytes add them up."""
SHIFT = LEVELS + 1

LEFT_OUT = np.iinfo(np.int32).min
ROUNDING = 2.0**-18
"""Of the largest score possible: far more than all that float32 and float64 round off here."""


class Asked(NamedTuple):
    """Users as their products are taken.

    Args:
        codes: (B, D) shifted to be positive.
        base: (B,) the score that a key of 0 stands for.
        unit: (B,) how much score one more in a key is.
        error: (B,) how far a score may be from the one that its key stands for.
    """

    codes: np.ndarray
    base: np.ndarray
    unit: np.ndarray
    error: np.ndarray


class Codes:
    """Vectors as whole numbers in 8 bits, in blocks.

    Let ``x = centre + step * (c + r)`` for a vector, with ``c`` whole numbers in 8 bits, and
    ``user * step = unit * a + e`` with ``a`` in 7 bits. Then ``user @ x`` differs from
    ``user @ centre + unit * (a @ c)`` by ``(user * step) @ r + e @ c``, at most ``|user * step| |r| +
    |e| |c|`` (Cauchy and Schwarz), where ``|r|`` and ``|c|`` are the largest of all vectors. The
    whole number ``a @ c`` is the key of the vector.

    Args:
        number: of vectors.
        read: returns some of them, (n, D) float64.
        longest: norm of the longest vector whose products are to be bounded.
        threads: of one product.

    Raises:
        ResourceError: the codes do not fit into memory.
        MissingExtraError: the extra ``serve`` is not installed.
    """

    def __init__(
        self, number: int, read: Callable[[slice], np.ndarray], longest: float, *, threads: int
    ) -> None:
        self.starts = _starts(number)
        somewhere = read(slice(0, 1))
        width = somewhere.shape[1]
        require_memory(number * (width + 4) + 16 * width * LARGEST_BLOCK, "a scan")
        low, high = somewhere[0], somewhere[0]
        for some in self._slices():
            block = read(some)
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
        self._centre, self._step = (low + high) / 2, (high - low) / 255
        inverse = np.divide(1, self._step, out=np.zeros_like(self._step), where=self._step > 0)
        self._blocks = []
        residual, length = 0.0, 0.0
        for some in self._slices():
            exact = (read(some) - self._centre) * inverse
            codes = np.clip(np.rint(exact), -128, 127)
            residual = max(residual, largest_norm(exact - codes))
            length = max(length, largest_norm(codes))
            shifts = (SHIFT * codes.sum(1)).astype(np.int32)
            self._blocks.append((np.ascontiguousarray(codes.T.astype(np.int8)), shifts))
        self._residual, self._length, self._longest = residual, length, longest
        self._session = _product(threads)

    def ask(self, users: np.ndarray) -> Asked:
        """Return users (B, D) as their products are taken."""
        exact = users * self._step
        unit = np.abs(exact).max(1, keepdims=True) / LEVELS
        unit[unit == 0] = 1
        codes = np.rint(exact / unit)
        error = np.linalg.norm(exact - unit * codes, axis=1) * self._length
        error += np.linalg.norm(exact, axis=1) * self._residual
        error += np.linalg.norm(users.astype(np.float64), axis=1) * self._longest * ROUNDING
        shifted = (codes + SHIFT).astype(np.uint8)
        return Asked(shifted, users @ self._centre, unit[:, 0], error)

    def keys(self, asked: Asked, block: int) -> np.ndarray:
        """Return the keys (B, n) of the vectors of a block."""
        codes, shifts = self._blocks[block]
        keys: np.ndarray
        (keys,) = self._session.run(None, {"users": asked.codes, "items": codes})
        keys -= shifts
        return keys

    def _slices(self) -> Iterator[slice]:
        return (slice(a, b) for a, b in pairwise(self.starts))


def largest_norm(vectors: np.ndarray) -> float:
    """Return the norm of the longest of (P, D) vectors."""
    return float(np.sqrt(np.einsum("pd,pd->p", vectors, vectors).max()))


def _starts(number: int) -> list[int]:
    """Return where blocks begin, and where the last one ends."""
    starts, size = [0], FIRST_BLOCK
    while starts[-1] < number:
        starts.append(min(starts[-1] + size, number))
        size = min(4 * size, LARGEST_BLOCK)
    return starts


def _product(threads: int) -> Any:
    """Return ONNX Runtime's product of (B, D) uint8 and (D, n) int8, in int32."""
    try:
        onnx, runtime = import_module("onnx"), import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError("serve", error.name or "onnx", "Serving") from None
    make, kind = onnx.helper, onnx.TensorProto
    graph = make.make_graph(
        [make.make_node("MatMulInteger", ["users", "items"], ["keys"])],
        "scan",
        [
            make.make_tensor_value_info("users", kind.UINT8, [None, None]),
            make.make_tensor_value_info("items", kind.INT8, [None, None]),
        ],
        [make.make_tensor_value_info("keys", kind.INT32, [None, None])],
    )
    opset = make.make_opsetid("", 20)
    model = make.make_model(graph, opset_imports=[opset], ir_version=9)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
