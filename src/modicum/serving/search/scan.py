"""Exact search: every item is scored in 8 bits, and what could be among the best once more."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from modicum.errors import MissingExtraError
from modicum.serving.search.searching import Found, Search, require_memory

FIRST_BLOCK, LARGEST_BLOCK = 2**11, 2**16
"""Items of the first block of a scan, and of the largest; each has four times those of the one before."""
USERS_AT_ONCE = 64
FEW_USERS = 3
"""Up to this many go one by one: ONNX Runtime rearranges the items before a product of more rows
than one, which takes as long as two more products of one row."""

LEVELS = 63
"""Codes of users go from -63 to 63. Shifted to 1 to 127, and with items from -128 to 127, two
products fit into 16 bits, where processors without instructions for bytes add them up."""
SHIFT = LEVELS + 1

LEFT_OUT = np.iinfo(np.int32).min
ROUNDING = 2.0**-18
"""Of the largest score possible: far more than all that float32 and float64 round off here."""


class Asked(NamedTuple):
    """Users as they are scanned for: codes (B, D) and, in units of a key (B,), how far the key of
    an item may be from its score."""

    codes: np.ndarray
    slack: np.ndarray


class Scan(Search):
    """Scores all items in 8 bits, bounds the error, and scores again whatever could be among the best.

    Let ``x = centre + step * (c + r)`` for an item, with ``c`` whole numbers in 8 bits, and
    ``user * step = unit * a + e`` with ``a`` in 7 bits. Then ``user @ x`` differs from
    ``user @ centre + unit * (a @ c)`` by ``(user * step) @ r + e @ c``, at most ``|user * step| |r| +
    |e| |c|`` (Cauchy and Schwarz), where ``|r|`` and ``|c|`` are the largest of all items. Call that
    ``b``. If ``k`` items have a key ``a @ c`` that stands for a score of ``s``, the ``k`` best
    reach ``s - b``, so no item whose key stands for less than ``s - 2 b`` is one of them. All
    others are scored in full.

    Args:
        items: (N, D) item vectors, float32 and finite.
        threads: of one scan.

    Raises:
        ResourceError: the codes do not fit into memory.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> items = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=np.float32)
    >>> [(positions, scores)] = Scan(items).best(items[:1], np.array([2]), [np.array([2])])
    >>> positions, scores
    (array([0, 1]), array([1., 0.], dtype=float32))
    """

    def __init__(self, items: np.ndarray, *, threads: int = 1) -> None:
        super().__init__(items)
        require_memory(items.size + 4 * len(items) + 16 * items.shape[1] * LARGEST_BLOCK, "a scan")
        low, high = items.min(0).astype(np.float64), items.max(0).astype(np.float64)
        self._centre, self._step = (low + high) / 2, (high - low) / 255
        inverse = np.divide(1, self._step, out=np.zeros_like(self._step), where=self._step > 0)
        self._blocks, self._starts = [], [0]
        residual, length, norm = 0.0, 0.0, 0.0
        size = FIRST_BLOCK
        while (start := self._starts[-1]) < len(items):
            block = items[start : start + size].astype(np.float64)
            exact = (block - self._centre) * inverse
            codes = np.clip(np.rint(exact), -128, 127)
            residual = max(residual, _longest(exact - codes))
            length, norm = max(length, _longest(codes)), max(norm, _longest(block))
            shifts = (SHIFT * codes.sum(1)).astype(np.int32)
            self._blocks.append((np.ascontiguousarray(codes.T.astype(np.int8)), shifts))
            self._starts.append(start + len(block))
            size = min(4 * size, LARGEST_BLOCK)
        self._residual, self._length, self._norm = residual, length, norm
        self._session = _product(threads)

    @property
    def description(self) -> str:
        return f"exact: {len(self.items):,} items scanned in 8 bits, the best scored in float32"

    def best(
        self, users: np.ndarray, wanted: np.ndarray, left_out: Sequence[np.ndarray]
    ) -> list[Found]:
        found: list[Found] = []
        together = USERS_AT_ONCE if len(users) > FEW_USERS else 1
        for begin in range(0, len(users), together):
            some = slice(begin, begin + together)
            candidates = self._candidates(users[some], wanted[some], left_out[some])
            found += [
                self.best_of(positions, user, int(number))
                for positions, user, number in zip(
                    candidates, users[some], wanted[some], strict=True
                )
            ]
        return found

    def _candidates(
        self, users: np.ndarray, wanted: np.ndarray, left_out: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return, for each user, positions among which the best are."""
        asked = self._asked(users)
        query = np.repeat(np.arange(len(users)), [len(x) for x in left_out])
        position = np.concatenate([np.empty(0, dtype=np.int64), *left_out])
        order = np.argsort(position, kind="stable")
        query, position = query[order], position[order]
        bounds = np.searchsorted(position, self._starts)
        kept = Kept(wanted, asked.slack)
        for number, (codes, shifts) in enumerate(self._blocks):
            (keys,) = self._session.run(None, {"users": asked.codes, "items": codes})
            keys -= shifts
            here = slice(bounds[number], bounds[number + 1])
            keys[query[here], position[here] - self._starts[number]] = LEFT_OUT
            kept.add(keys, self._starts[number])
        return kept.positions()

    def _asked(self, users: np.ndarray) -> Asked:
        exact = users * self._step
        unit = np.abs(exact).max(1, keepdims=True) / LEVELS
        unit[unit == 0] = 1
        codes = np.rint(exact / unit)
        error = np.linalg.norm(exact - unit * codes, axis=1) * self._length
        error += np.linalg.norm(exact, axis=1) * self._residual
        error += np.linalg.norm(users.astype(np.float64), axis=1) * self._norm * ROUNDING
        return Asked((codes + SHIFT).astype(np.uint8), np.ceil(2 * error / unit[:, 0]) + 1)


class Kept:
    """What may still be among the best of each user, as a scan goes on.

    Args:
        wanted: (B,) how many are.
        slack: (B,) how far below the key of the last of them a key may be.
    """

    def __init__(self, wanted: np.ndarray, slack: np.ndarray) -> None:
        self._wanted, self._slack = wanted, slack
        self._least = np.full(len(wanted), LEFT_OUT + 1, dtype=np.int32)
        self._found: list[tuple[np.ndarray, ...]] = []
        self._seen, self._next = 0, FIRST_BLOCK

    def add(self, keys: np.ndarray, start: int) -> None:
        """Take the keys (B, n) of the items from position ``start``."""
        if not self._seen:
            for at, own in enumerate(keys):
                self._least[at] = self._least_beside(own, at)
        query, column = np.divmod(
            np.flatnonzero(keys >= self._least[:, None]), np.int64(keys.shape[1])
        )
        self._found.append((query, column + start, keys[query, column]))
        self._seen += keys.shape[1]
        if self._seen >= self._next:
            self._raise()
            self._next = 2 * self._seen

    def positions(self) -> list[np.ndarray]:
        """Return the positions of each user that are left."""
        self._raise()
        query, position, _ = self._found[0]
        bounds = np.searchsorted(query, np.arange(len(self._wanted) + 1))
        return [position[a:b] for a, b in pairwise(bounds)]

    def _raise(self) -> None:
        """Raise the least key that counts, by what has been found, and drop what is below."""
        query, position, key = (np.concatenate(x) for x in zip(*self._found, strict=True))
        order = np.argsort(query, kind="stable")
        query, position, key = query[order], position[order], key[order]
        bounds = np.searchsorted(query, np.arange(len(self._wanted) + 1))
        for at, (begin, end) in enumerate(pairwise(bounds)):
            self._least[at] = self._least_beside(key[begin:end], at)
        stays = key >= self._least[query]
        self._found = [(query[stays], position[stays], key[stays])]

    def _least_beside(self, keys: np.ndarray, at: int) -> int:
        """Return the least key that counts for a user beside items of these keys (P,)."""
        place = len(keys) - int(self._wanted[at])
        if place < 0:
            return LEFT_OUT + 1
        return max(int(np.partition(keys, place)[place] - self._slack[at]), LEFT_OUT + 1)


def _longest(vectors: np.ndarray) -> float:
    """Return the largest norm of (P, D) vectors."""
    return float(np.sqrt(np.einsum("pd,pd->p", vectors, vectors).max()))


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
