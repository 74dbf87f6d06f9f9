"""A fitted model as one asks it: what it recommends, and where it ranks what came next."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from modicum.data.histories import Histories
from modicum.data.split import Queries
from modicum.data.vocabulary import UNKNOWN, Vocabulary
from modicum.data.windows import Prefixes
from modicum.errors import DataError, NotFittedError
from modicum.evaluation.ranking import Ranking
from modicum.methods import inputs
from modicum.methods.explaining import reasons
from modicum.methods.network import Catalogue, Network
from modicum.methods.scoring import score_blocks
from modicum.nn.ranking import best_items, expected_ranks


class Asked(ABC):
    """What can be asked of a recommender, once it has a network and a catalogue."""

    _network: Network
    _catalogue: Catalogue
    _trained_on: Histories

    @property
    @abstractmethod
    def length(self) -> int:
        """Longest history that the model reads, in events."""

    @cached_property
    def name(self) -> str:
        """The method's published name in lower case, as on the command line."""
        return type(self).__name__.lower()

    @property
    def catalogue(self) -> Catalogue:
        """The items that can be recommended, and how often they occurred in training."""
        self._require_fitted()
        return self._catalogue

    @property
    def vocabulary(self) -> Vocabulary:
        """The items that can be recommended."""
        return self.catalogue.vocabulary

    @property
    def fitted_network(self) -> Network:
        """The network, trained."""
        self._require_fitted()
        return self._network

    def require_items_of(self, histories: Histories) -> None:
        """Raise DataError unless the events are of the very items that can be recommended."""
        if not histories.vocabulary.equals(self.vocabulary):
            raise DataError(
                "these events are not of the items that the model was fitted on; pass the "
                "training part of the same split"
            )

    def recommend(
        self,
        histories: Sequence[Sequence[Any]] | Histories | None = None,
        *,
        users: Sequence[Any] | None = None,
        k: int = 10,
        domain: str | None = None,
        exclude_seen: bool = True,
        behaviours: Sequence[Sequence[str]] | None = None,
        explain: bool = False,
    ) -> pl.DataFrame:
        """Return the best ``k`` items for each history or user.

        Items that the model does not know are left out of a history. A history without known
        items gets the most popular items.

        Args:
            histories: item ids, oldest first, one sequence for each query; an id that several
                domains have is named as a pair (domain, id). Of a ``Histories``, each user is a
                query of that name, and their events say the behaviours.
            users: ids of users seen in training, instead of histories.
            k: items for each query; fewer come back where the catalogue has no more.
            domain: recommend items of this domain; None: of all.
            exclude_seen: do not recommend items of the history, met by the target behaviour.
            behaviours: of the items of the histories, for a model with a target behaviour; without
                them, all are taken to be of that one.
            explain: say which events carried each item; each history is then read again without
                each of the events that the model reads of it (:func:`modicum.methods.explaining.reasons`).

        Returns:
            Columns ``query`` (position, or the user id), ``item``, ``score``, ``rank`` from 1, and
            ``domain`` after the item where items have one. With ``explain``, ``because``: a list
            of ``event``, its ``domain`` and its ``share``, strongest first.

        Raises:
            DataError: neither or both of histories and users are given, a user or domain is
                unknown, or an id is of several domains.
        """
        self._require_fitted()
        if (histories is None) == (users is None):
            raise DataError("give either histories=[[item, ...], ...] or users=[...]")
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise DataError(f"k={k!r} must be 1 or more, a whole number")
        k = min(int(k), len(self.vocabulary))
        if isinstance(histories, Histories):
            prefixes, names = self._inputs_of(histories), histories.user_ids
        elif histories is not None:
            prefixes = inputs.of_items(
                histories, self.vocabulary, behaviours, self.target_behaviour
            )
            names = pl.Series(range(len(histories)))
        else:
            assert users is not None
            if behaviours is not None:
                raise DataError("behaviours belong to histories; those of users are known")
            prefixes, names = self._of_users(users), pl.Series(list(users))
        prefixes = self._asking_for(domain, prefixes)
        seen = inputs.without_auxiliary(prefixes) if exclude_seen else None
        found = [
            (queries, *best_items(scores, k))
            for queries, scores in self._scores(prefixes, seen, self._popularity)
        ]
        if not found:
            ends = {"score": pl.Float32(), "rank": pl.Int64()}
            columns = {"query": pl.Int64(), **self.vocabulary.to_frame().schema, **ends}
            return pl.DataFrame(schema=columns)
        queries = np.concatenate([x for x, _, _ in found])
        order = np.argsort(queries, kind="stable")
        values = torch.cat([x for _, x, _ in found]).cpu().numpy()[order]
        rows = torch.cat([x for _, _, x in found]).cpu().numpy()[order]
        there = rows.ravel() > 0
        place = np.tile(np.arange(1, k + 1), len(rows))[there]
        rows = rows.ravel()[there]
        items = {"item": self.vocabulary.names(rows)}
        if self.vocabulary.domains is not None:
            items["domain"] = self.vocabulary.domains_of(rows)
        asked = np.repeat(queries[order], k)[there]
        top = pl.DataFrame(
            {"query": names.gather(asked), **items, "score": values.ravel()[there], "rank": place}
        )
        if not explain:
            return top
        scores = partial(self._scores, seen=None, popularity=None)
        read = self.read(prefixes).latest(self.length)
        because = reasons(scores, read, asked, rows, self.vocabulary)
        return top.with_columns(because=because)

    def rank(
        self,
        queries: Queries,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: np.ndarray | None = None,
    ) -> Ranking:
        """Rank each query's target among the catalogue of its domain.

        See :class:`modicum.evaluation.ranking.Ranker`.
        """
        self._require_fitted()
        renumber = self._rows_of(queries.histories.vocabulary)
        histories = renumber[queries.histories.item_rows]
        auxiliary = self._auxiliary(queries.histories)
        prefixes = inputs.of_queries(queries, histories, self.vocabulary, auxiliary)
        seen = prefixes if exclude_seen else None
        if exclude_seen and queries.target_behaviour is not None:
            seen = Prefixes.of(renumber[queries.seen_rows], queries.starts, queries.targets)
        targets = torch.from_numpy(np.maximum(histories[queries.targets], 0))
        ranks = np.full(len(queries), np.inf)
        top = np.zeros((len(queries), k), dtype=np.int32)
        for which, scores in self._scores(prefixes, seen, self._popularity):
            wanted = targets[which].to(scores.device)
            if candidates is not None:
                scores = _only(scores, renumber[candidates[which]], wanted)
            ranks[which] = expected_ranks(scores, wanted).cpu().numpy()
            top[which] = best_items(scores, k)[1].cpu().numpy()
        return Ranking(ranks, top)

    @property
    def target_behaviour(self) -> str | None:
        """The behaviour to predict, of which other events are auxiliary; None: all are alike."""
        return None

    def predicted(self, histories: Histories) -> np.ndarray | None:
        """Return (E,) the events of the target behaviour; None: all."""
        if self.target_behaviour is None:
            return None
        return histories.where(behaviour=self.target_behaviour)

    @property
    def reads_all(self) -> bool:
        """Whether the network is given whole histories, whatever is asked for."""
        return not self.fitted_network.by_domain

    def read(self, prefixes: Prefixes) -> Prefixes:
        """Return what is read of the histories of queries; all of them, here."""
        return prefixes

    @property
    def _popularity(self) -> Tensor:
        return torch.from_numpy(self._catalogue.counts[1:].astype(np.float32))

    def _scores(
        self, prefixes: Prefixes, seen: Prefixes | None, popularity: Tensor | None
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        if self._network.by_domain:
            self.require_domain(prefixes)
        domains = self.vocabulary.domains
        return score_blocks(
            self._network,
            popularity,
            self.read(prefixes),
            length=self.length,
            num_items=len(self.vocabulary),
            seen=seen,
            item_domains=None if domains is None else torch.from_numpy(domains.astype(np.int64)),
        )

    def knows(self, histories: Histories, domain: str | None = None) -> np.ndarray:
        """Return (U,) whether there is something to read of each user; others get popularity.

        Args:
            histories: of any items.
            domain: that is asked for; None: all.
        """
        read = self.read(self._asking_for(domain, self._inputs_of(histories)))
        return read.ends > read.starts

    def _asking_for(self, domain: str | None, prefixes: Prefixes) -> Prefixes:
        if domain is None:
            return prefixes
        code = self.vocabulary.domain_code(domain)
        return dataclasses.replace(prefixes, domains=np.full(len(prefixes), code))

    def _inputs_of(self, histories: Histories) -> Prefixes:
        """Return what all users did as inputs, in the numbering of this model."""
        rows = self._rows_of(histories.vocabulary)[histories.item_rows]
        auxiliary, names = None, histories.names.get("behaviour")
        if self.target_behaviour is not None and names is not None:
            targets = [code for code, name in enumerate(names) if name == self.target_behaviour]
            auxiliary = ~np.isin(histories.columns["behaviour"], targets)
        return Prefixes.of(rows, histories.offsets[:-1], histories.offsets[1:], auxiliary)

    def require_domain(self, prefixes: Prefixes) -> None:
        """Raise DataError unless queries say which domain they ask for, where there are domains."""
        if self.vocabulary.domains is not None and prefixes.domains is None:
            raise DataError(
                f"{self.name} reads a history for the domain that is asked for; name it with "
                f"domain=..., one of {', '.join(self.vocabulary.domain_names)}"
            )

    def _rows_of(self, vocabulary: Vocabulary) -> np.ndarray:
        """Return (N' + 1,) rows of this model for the rows of another vocabulary."""
        return np.concatenate([[UNKNOWN], self.vocabulary.rows_of(vocabulary)])

    def _auxiliary(self, histories: Histories) -> np.ndarray | None:
        """Return (E,) which events are of another behaviour than the target."""
        predicted = self.predicted(histories)
        return None if predicted is None else ~predicted

    def _of_users(self, users: Sequence[Any]) -> Prefixes:
        if not hasattr(self, "_trained_on"):
            raise DataError(
                "a loaded model holds no user's events; pass histories=[[item, ...], ...] instead"
            )
        return inputs.of_users(users, self._trained_on, self._auxiliary(self._trained_on))

    def _require_fitted(self) -> None:
        if not hasattr(self, "_network"):
            raise NotFittedError(
                f"{type(self).__name__} is not fitted; call fit(split.train) first"
            )


def _only(scores: Tensor, candidates: np.ndarray, targets: Tensor) -> Tensor:
    """Keep the scores of the candidates and the target; all else falls to -inf."""
    kept = torch.full_like(scores, float("-inf"))
    rows = torch.from_numpy(candidates).to(scores.device)
    rows = torch.cat([torch.where(rows > 0, rows, targets[:, None]), targets[:, None]], dim=1)
    at = (rows - 1).clamp(min=0)
    return kept.scatter(1, at, scores.gather(1, at))
