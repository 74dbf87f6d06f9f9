"""A rater: what all learners of ratings have in common, from ratings to predictions."""

from __future__ import annotations

import dataclasses
import json
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn

from modicum import __version__
from modicum.data.ratings import Ratings
from modicum.errors import SettingError
from modicum.methods.fitting import check_seed
from modicum.methods.rating import evidence
from modicum.methods.rating.factorisation import MatrixFactorisation
from modicum.methods.rating.fitted import FittedRater
from modicum.methods.rating.objectives import Objective, Problem
from modicum.training import memory
from modicum.training.loop import train
from modicum.training.processes import Processes
from modicum.training.progress import ProgressBar
from modicum.training.rows import RowBatch, Rows
from modicum.training.settings import TrainingFields


@dataclasses.dataclass(kw_only=True)
class Rater(TrainingFields, FittedRater):
    """The base of all learners of ratings; a method adds its fields and its ``objective``.

    A fitted rater has ``users`` and ``items`` (those it knows), ``module`` and ``training_log``.

    Args:
        dim: width of the vectors of matrix factorisation.
        pointwise: makes another module from the numbers of users and items: it gets rows (B,) of
            users and items, from 1, and returns (B,) logits or values; row 0 is one not seen in
            training. None is matrix factorisation with biases.
        learn: the probability that a rating is ``"positive"``, by cross-entropy, or its ``"value"``,
            by squared error.
        propensities: how they are estimated from the training ratings where these have no column of
            known ones: ``"marginal"``, ``"logistic"`` (an effect of each user and item) or
            ``"factorised"``.
        criterion: the validation value that chooses the epoch is minus the error, ``"weighted"`` as
            in training and self-normalised, or the ``"plain"`` mean.
    """

    batch_size: int = 512
    epochs: int = 100
    patience: int = 5
    learning_rate: float = 0.01
    warmup_steps: int = 0
    weight_decay: float = 1.0
    dim: int = 8
    pointwise: Callable[[int, int], nn.Module] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )
    learn: Literal["positive", "value"] = "positive"
    propensities: Literal["marginal", "logistic", "factorised"] = "marginal"
    criterion: Literal["weighted", "plain"] = "weighted"

    @abstractmethod
    def objective(self, problem: Problem) -> Objective:
        """Wrap new modules in what training minimises."""

    def weigh(self, p: np.ndarray) -> np.ndarray:
        """Return what the errors count that were observed with propensities ``p``; 1 here."""
        return np.ones_like(p)

    def check(self) -> None:
        super().check()
        drawn = getattr(self, "drawn", 1)
        if drawn < 1:
            raise SettingError(f"drawn={drawn} must be 1 or more")

    def fit(
        self,
        ratings: Ratings,
        validation: Ratings | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Learn from the self-selected ratings; randomised ones among them are left out.

        Args:
            ratings: training ratings. Propensities are those of their column, or are estimated
                from them alone.
            validation: other ratings, such as a share of ``ratings`` held out; they choose the epoch
                and stop early. Without them, training lasts all epochs. Where they were randomised,
                each counts once.
            seed: of the random start, the order of the batches and the pairs drawn.
            folder: where checkpoints go; a training that was cut off there goes on from it.
            progress: show progress on standard error.

        Raises:
            DataError: there is nothing to learn from, nobody said which values are positive, a
                validation pair is in training, too, or only some ratings have propensities.
            SettingError: a hyper-parameter is out of range.
            ResourceError: the training does not fit into memory.
        """
        self.check()
        check_seed(seed)
        ratings = evidence.checked(ratings, validation)
        vars(self).pop("_module", None)  # half a training is not a fitted rater
        self._users, self._items = ratings.users, ratings.items
        binary = self.learn == "positive"
        p, validation_p = evidence.propensities(self.propensities, ratings, validation)
        weights = self.weigh(p)
        labels = self._labels(ratings)
        mean = float(np.average(labels, weights=weights))
        problem = Problem(
            num_users=len(self._users),
            num_items=len(self._items),
            num_ratings=len(ratings),
            binary=binary,
            module=lambda: self.new_module(mean),
        )
        self.lineage: dict[str, Any] = {
            "seed": seed,
            "data": evidence.digest(ratings),
            "positive": f"value >= {ratings.positive:g}" if binary else None,
            "propensities": "known" if ratings.propensities is not None else self.propensities,
            "largest weight": round(float(weights.max()), 3),
            "effective sample size": round(float(weights.sum() ** 2 / (weights @ weights)), 1),
            "modicum": __version__,
            "torch": str(torch.__version__),
        }
        columns = evidence.columns(ratings, labels, weights, self._users, self._items)
        device, purpose = self.torch_device, f"training {self.name}"
        if self.pointwise is None:
            memory.require_room(lambda: self.objective(problem), self.batch_size, device, purpose)
        torch.manual_seed(seed)
        objective = self.objective(problem)
        needed = memory.training_bytes(objective, self.batch_size)
        memory.require(needed, device, purpose)
        bar = ProgressBar(self.name, shown=progress and Processes.join().leads)
        bar.say(
            f"{len(ratings):,} ratings of {problem.num_users:,} users and {problem.num_items:,} "
            f"items, weights up to {weights.max():.1f} that leave an effective sample size of "
            f"{self.lineage['effective sample size']:,.0f}, {self.epochs} epochs at most"
        )
        validate = None
        judged_by = []
        if validation is not None and validation_p is not None:
            validate = self._validate(objective, validation, validation_p)
            judged_by = [evidence.digest(validation)]
        self.training_log = train(
            objective,
            Rows(columns, batch_size=self.batch_size, seed=seed, processes=Processes.join()),
            self,
            validate=validate,
            folder=None if folder is None else Path(folder),
            fingerprint=json.dumps([self.name, self.settings(), self.lineage, judged_by]),
            bar=bar,
        )
        self._module = objective.predictor
        return self

    def new_module(self, mean: float) -> nn.Module:
        num_users, num_items = len(self._users), len(self._items)
        if self.pointwise is not None:
            return self.pointwise(num_users, num_items)
        start = mean
        if self.learn == "positive":
            mean = min(max(mean, 1e-3), 1 - 1e-3)
            start = float(np.log(mean / (1 - mean)))
        return MatrixFactorisation(num_users, num_items, dim=self.dim, start=start)

    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters as plain JSON values, without ``pointwise``."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["pointwise"]
        return {
            name: vars(value).copy() if dataclasses.is_dataclass(value) else value
            for name, value in values.items()
        }

    def _labels(self, ratings: Ratings) -> np.ndarray:
        return ratings.labels if self.learn == "positive" else ratings.values

    def _validate(
        self, objective: Objective, validation: Ratings, p: np.ndarray
    ) -> Callable[[], float]:
        """Return what gives minus the self-normalised error on validation ratings."""
        weights = np.ones(len(validation))
        if self.criterion == "weighted":
            weights = np.where(validation.frame["randomised"].to_numpy(), 1.0, self.weigh(p))
        labels = self._labels(validation)
        columns = evidence.columns(validation, labels, weights, self._users, self._items)
        held_out = RowBatch(columns).to(self.torch_device)

        def value() -> float:
            with torch.inference_mode():
                errors = objective.errors(held_out) * held_out["weight"]
                return -float(errors.sum() / held_out["weight"].sum())

        return value
