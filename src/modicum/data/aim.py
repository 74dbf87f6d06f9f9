"""What a split asks for: targets of a domain or behaviour, links between domains, cold users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modicum.data.histories import Histories
from modicum.errors import DataError


@dataclass(frozen=True)
class Aim:
    """Which events are to be predicted, which links between domains are learnt from, who is cold.

    Args:
        domain, behaviour: of the targets; None: any.
        keep_overlap: share of the users in the target domain and elsewhere whose training events
            elsewhere are kept.
        make_cold: share of the test users known in a domain and elsewhere who come to it anew, and
            of such users with validation targets alone.
        seed: of the choice of those users.
    """

    domain: str | None
    behaviour: str | None
    keep_overlap: float
    make_cold: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("keep_overlap", "make_cold"):
            share = getattr(self, name)
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                raise DataError(f"{name}={share!r} is a share of users, a number in [0, 1]")
        if self.keep_overlap < 1 and self.domain is None:
            raise DataError(
                f"keep_overlap={self.keep_overlap} drops events outside the target domain; name "
                "it with target_domain=..."
            )

    def mask(self, events: Histories) -> np.ndarray:
        """Return (E,) the events that may be targets."""
        return events.where(domain=self.domain, behaviour=self.behaviour)

    def hidden(self, events: Histories, validation: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return (E,) the events that ``make_cold`` hides, given the targets' positions."""
        if self.make_cold == 0:
            return np.zeros(events.num_events, dtype=bool)
        if events.domains is None:
            raise DataError(
                f"make_cold={self.make_cold} hides what users did in one of several domains, but "
                "the log has no domain column; read it with domain=..., or leave make_cold out"
            )
        tested = np.isin(events.event_users[validation], events.event_users[test])
        hidden = np.zeros(events.num_events, dtype=bool)
        for targets in (test, validation[~tested]):
            users, first = np.unique(events.event_users[targets], return_index=True)
            until = np.zeros(events.num_users, dtype=np.int64)
            until[users] = targets[first]
            inside = events.domains == events.domains[until][events.event_users]
            before = np.arange(events.num_events) < until[events.event_users]
            chosen = _share_of(_in_both(events, before, inside), self.make_cold, self.seed)
            hidden |= before & inside & np.isin(events.event_users, chosen)
        return hidden

    def linked(self, events: Histories, training: np.ndarray) -> np.ndarray:
        """Return (E,) the training events without those that ``keep_overlap`` drops."""
        if self.keep_overlap == 1:
            return training
        inside = events.where(domain=self.domain)
        overlapping = _in_both(events, training, inside)
        kept = _share_of(overlapping, self.keep_overlap, self.seed)
        cut = np.setdiff1d(overlapping, kept)
        return training & (inside | ~np.isin(events.event_users, cut))

    @property
    def protocol(self) -> dict[str, str]:
        said = {}
        if self.domain is not None:
            said["target domain"] = self.domain
        if self.behaviour is not None:
            said["target behaviour"] = self.behaviour
            said["seen items"] = f"those that the user met by {self.behaviour}"
        if self.make_cold > 0:
            said["made cold"] = (
                f"{100 * self.make_cold:g} % of the test users known both in the domain of their "
                "first test target and elsewhere, and of the other validation users likewise: their "
                "earlier events in that domain are in no training, validation or input, for any "
                "method"
            )
        if self.keep_overlap < 1:
            said["overlap"] = (
                f"{100 * self.keep_overlap:g} % of the users with training events both in "
                f"{self.domain} and elsewhere keep them all; of the others, training lacks the "
                f"events outside {self.domain}; the inputs and targets of all queries are whole"
            )
        return said


def _in_both(events: Histories, of: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the users with events both inside and outside, among those where ``of`` (E,) is true."""
    sides = [np.logical_or.reduceat(of & side, events.offsets[:-1]) for side in (inside, ~inside)]
    return np.flatnonzero(sides[0] & sides[1])


def _share_of(users: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return a share of the users; those of a smaller share are among those of a larger one."""
    return np.random.default_rng(seed).permutation(users)[: round(share * len(users))]
