"""Which events of a history carried a recommendation, by leaving each out, on an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modicum.exported import Exported

ROUNDING = 1e-5
"""Differences of scores below this share of them are none."""
POSITIONS_AT_ONCE = 2**14


@dataclass(frozen=True)
class Reason:
    """An event that a recommendation goes back to.

    Args:
        event: id of its item.
        domain: of the item; None where items have none.
        share: of the event among all events of the history; negative where it speaks against.
    """

    event: Any
    domain: str | None
    share: float


class Explainer:
    """Says what :func:`modicum.methods.explaining.reasons` says, without torch.

    Args:
        model: that recommended.
    """

    def __init__(self, model: Exported) -> None:
        self._model = model
        domains = model.vocabulary.domains
        self._means: dict[int | None, np.ndarray] = {None: model.items.mean(0, dtype=np.float64)}
        for code in range(len(model.vocabulary.domain_names)):
            self._means[code] = model.items[domains == code].mean(0, dtype=np.float64)

    def because(
        self, history: np.ndarray, rows: np.ndarray, domain: int | None
    ) -> list[list[Reason]]:
        """Return, for each recommended item, the events it was recommended for, strongest first.

        Args:
            history: (E,) item rows, oldest first.
            rows: (R,) of the recommended items.
            domain: code of the one that was asked for; None: all.
        """
        if not len(history) or not len(rows):
            return [[] for _ in rows]
        events = np.arange(max(0, len(history) - self._model.length), len(history))
        if len(history) == 1:
            shares = np.ones((len(rows), 1))  # without it there is nothing to compare with
        else:
            without = [np.delete(history, at) for at in events]
            users = self._encoded([history, *without]).astype(np.float64)
            stands = users @ (self._model.items[rows - 1] - self._means[domain]).T  # (1 + V, R)
            parts = (stands[0] - stands[1:]).T
            parts[np.abs(parts) < ROUNDING * (1 + np.abs(stands[0][:, None]))] = 0
            total = np.abs(parts).sum(1, keepdims=True)
            shares = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
        vocabulary = self._model.vocabulary
        names = vocabulary.names(history[events]).to_list()
        domains: Sequence[str | None] = [None] * len(names)
        if vocabulary.domains is not None:
            domains = vocabulary.domains_of(history[events]).to_list()
        return [
            [
                Reason(names[at], domains[at], float(own[at]))
                for at in np.argsort(-own, kind="stable")
            ]
            for own in shares
        ]

    def _encoded(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        longest = min(self._model.length, max(map(len, histories)))
        at_once = max(1, POSITIONS_AT_ONCE // longest)
        blocks = [histories[at : at + at_once] for at in range(0, len(histories), at_once)]
        return np.concatenate([self._model.encode_all(block) for block in blocks])
