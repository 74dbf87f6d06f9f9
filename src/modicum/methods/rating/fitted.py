"""A fitted rater as one asks it: what it predicts, how it is judged, saved and loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import nn

from modicum import bundle
from modicum.bundle import Bundle
from modicum.data.ratings import Ratings
from modicum.data.vocabulary import Vocabulary
from modicum.errors import BundleError, DataError, NotFittedError, SettingError
from modicum.evaluation.predictions import Predictions
from modicum.evaluation.rated import ndcg_table
from modicum.methods.rating.evidence import rows_of

NDCG_AT = (1, 5, 10)
BLOCK = 1 << 18
"""Pairs that are predicted at a time."""


class FittedRater(ABC):
    """What can be asked of a rater, once it has a module and knows users and items."""

    learn: str
    training_log: list[dict[str, Any]]
    lineage: dict[str, Any]
    _users: Vocabulary
    _items: Vocabulary
    _module: nn.Module

    @abstractmethod
    def new_module(self, mean: float) -> nn.Module:
        """Return an untrained pointwise module; matrix factorisation starts from the mean label."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters as plain JSON values."""

    @property
    def name(self) -> str:
        """The method's name, which is that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def users(self) -> Vocabulary:
        """The users that were seen in training."""
        self._require_fitted()
        return self._users

    @property
    def items(self) -> Vocabulary:
        """The items that were seen in training."""
        self._require_fitted()
        return self._items

    @property
    def module(self) -> nn.Module:
        """The pointwise module, trained."""
        self._require_fitted()
        return self._module

    def predict(
        self, users: Sequence[Any] | pl.Series, items: Sequence[Any] | pl.Series
    ) -> np.ndarray:
        """Return (n,) the probability that each pair's rating is positive, or its expected value.

        Matrix factorisation takes a user or item that it has not seen for an average one: what
        remains is the other side's bias.

        Args:
            users, items: (n,) ids.

        Raises:
            DataError: the lengths differ, or a single id stands for a list.
            NotFittedError: there is nothing learnt yet.
        """
        self._require_fitted()
        for name, ids in (("users", users), ("items", items)):
            if isinstance(ids, str) or not hasattr(ids, "__len__"):
                raise DataError(f"{name} is {ids!r}; pass a list of ids, one for each pair")
        if len(users) != len(items):
            raise DataError(f"{len(users)} users and {len(items)} items; each pair needs both")
        rows = (rows_of(self._users, users), rows_of(self._items, items))
        device = next((p.device for p in self._module.parameters()), torch.device("cpu"))
        parts = zip(*(torch.from_numpy(each).split(BLOCK) for each in rows), strict=True)
        with torch.inference_mode():
            outputs = torch.cat([self._module(u.to(device), i.to(device)) for u, i in parts])
        if self.learn == "positive":
            outputs = outputs.sigmoid()
        return outputs.cpu().double().numpy()

    def predictions(self, ratings: Ratings) -> Predictions:
        """Return what is said of ratings beside what they are, by user: what ``evaluate`` judges.

        Raises:
            DataError: these are no ratings, or nobody said which values are positive.
            SettingError: the rater learnt values, which are no probabilities.
        """
        if not isinstance(ratings, Ratings):
            raise DataError(
                f"a rater is judged by ratings, not by a {type(ratings).__name__}; pass "
                "mo.read_ratings(source, positive=...)"
            )
        if self.learn != "positive":
            raise SettingError("a rater of values has no probabilities to judge; see predict")
        said = self.predict(ratings.frame["user"], ratings.frame["item"])
        labels = ratings.labels
        known = rows_of(self._users, ratings.frame["user"]) * rows_of(
            self._items, ratings.frame["item"]
        )
        return Predictions(
            probabilities=pl.DataFrame({"positive": said}),
            outcomes=pl.DataFrame({"positive": labels.astype(np.int64)}),
            clusters=ratings.user_rows,
            unit="user",
            about={
                "positive": f"value >= {ratings.positive:g}",
                "randomised": f"{ratings.frame['randomised'].to_numpy().mean():.1%}",
                "unknown user or item": f"{(known == 0).mean():.1%}",
            },
            tables={"NDCG by user": ndcg_table(ratings.user_rows, labels, said, NDCG_AT)},
        )

    def _require_fitted(self) -> None:
        if not hasattr(self, "_module"):
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(ratings) first")

    # keeping

    def save(self, folder: str | Path) -> Path:
        """Write the fitted rater into ``folder``; :func:`modicum.load` reads it.

        Raises:
            BundleError: the module is not matrix factorisation, so that a folder could not say
                how to build it.
        """
        self._require_fitted()
        if getattr(self, "pointwise", None) is not None:
            raise BundleError(
                f"a {self.name} with a module of your own cannot be loaded without it: keep "
                "model.module.state_dict() beside your code"
            )
        weights = self._module.state_dict()
        ratings = sum(record["targets"] for record in self.training_log[:1])
        saved = Bundle(
            method=type(self).__module__.removeprefix("modicum.methods."),
            settings=self.settings(),
            tables={"users": self._users.to_frame(), "items": self._items.to_frame()},
            weights=weights,
            training_log=[*self.training_log],
            lineage={**self.lineage},
            purpose=(
                f"Predicts ratings of {len(self._items):,} items by {len(self._users):,} users; "
                f"learnt from {ratings:,} ratings that they chose to give."
            ),
            limits=(
                "Made to predict what users would say of any item, not which ones they choose. A "
                "user or item that was not seen in training counts as an average one. How far "
                "debiasing reaches depends on the propensities, which no ratings can prove right: "
                "judge it by randomised ratings."
            ),
            parts={name: [f"{name}.weight"] for name in ("users", "items")},
        )
        return bundle.save(saved, Path(folder))

    @classmethod
    def of_bundle(cls, saved: Bundle) -> Self:
        """Rebuild a fitted rater from what a folder holds."""
        model = cls(**saved.settings)
        model._users = Vocabulary.of_frame(saved.tables["users"])
        model._items = Vocabulary.of_frame(saved.tables["items"])
        with torch.device("meta"):  # nothing is allocated for settings that do not fit the weights
            bundle.require_shapes(model.new_module(0.5), saved.weights)
        model._module = model.new_module(0.5).eval()
        bundle.assign(model._module, saved.weights)
        model.training_log, model.lineage = saved.training_log, saved.lineage
        return model
