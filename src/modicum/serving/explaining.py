"""Which events of a history carried a recommendation, by leaving each out, of a model as it is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.exported import Read

if TYPE_CHECKING:
    from modicum.serving.engine import Model

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

    def __init__(self, model: Model) -> None:
        self._model = model
        domains = model.vocabulary.domains
        self._means: dict[int | None, np.ndarray] = {None: model.items.mean(0, dtype=np.float64)}
        for code in range(len(model.vocabulary.domain_names)):
            self._means[code] = model.items[domains == code].mean(0, dtype=np.float64)

    def because(self, read: Read, rows: np.ndarray) -> list[list[Reason]]:
        """Return, for each recommended item, the events it was recommended for, strongest first.

        Args:
            read: what the model was given.
            rows: (R,) of the recommended items.
        """
        if not len(read.rows) or not len(rows):
            return [[] for _ in rows]
        read = self._model.window(read)
        history, events = read.rows, range(len(read.rows))
        if len(history) == 1:
            shares = np.ones((len(rows), 1))  # without it there is nothing to compare with
        else:
            users = self._encoded([read, *(_without(read, at) for at in events)])
            of_domain = self._model.items[rows - 1] - self._means[read.domain]
            stands = users.astype(np.float64) @ of_domain.T  # (1 + V, R)
            parts = (stands[0] - stands[1:]).T
            parts[np.abs(parts) < ROUNDING * (1 + np.abs(stands[0][:, None]))] = 0
            total = np.abs(parts).sum(1, keepdims=True)
            shares = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
        vocabulary = self._model.vocabulary
        names = vocabulary.names(history).to_list()
        domains: Sequence[str | None] = [None] * len(names)
        if vocabulary.domains is not None:
            domains = vocabulary.domains_of(history).to_list()
        return [
            [
                Reason(names[at], domains[at], float(own[at]))
                for at in np.argsort(-own, kind="stable")
            ]
            for own in shares
        ]

    def _encoded(self, reads: Sequence[Read]) -> np.ndarray:
        longest = min(self._model.length, max(len(read.rows) for read in reads))
        at_once = max(1, POSITIONS_AT_ONCE // longest)
        blocks = [reads[at : at + at_once] for at in range(0, len(reads), at_once)]
        return np.concatenate([self._model.encode_all(block) for block in blocks])


def _without(read: Read, at: int) -> Read:
    """Return what is left without one event."""
    auxiliary = None if read.auxiliary is None else np.delete(read.auxiliary, at)
    return Read(np.delete(read.rows, at), read.domain, auxiliary)
