"""EWMOTE: oversampling by deleting parts of weighted seeds and filling them in by EM.

Source: An adaptive oversampling learning method for class-imbalanced fault diagnostics and
prognostics, arXiv 1811.07674. Only its abstract could be had. What is computed here is
reconstructed from its two parents: MWMOTE's weights, and oversampling by imputation of values that
were deleted on purpose.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from modicum.errors import SettingError
from modicum.methods.imbalance.gaussian_em import Gaussians, fit_gaussians
from modicum.methods.imbalance.informative import nearest, seed_weights
from modicum.methods.imbalance.oversampler import Oversampler, positive
from modicum.methods.imbalance.space import Space

JITTER = 0.1
"""Deviation of copies of the only row of a class, in standard deviations of all rows."""

FEW = {
    1: "one row: new ones are copies with a little noise",
    2: "two rows: new ones lie between them",
}


class EWMOTE(Oversampler):
    """Weighted minority oversampling with imputation by expectation-maximisation.

    Seeds near the border are drawn by MWMOTE's weights; in each copy some features are deleted and
    drawn anew from a Gaussian that was fitted to the class, given the features that are kept. The
    new row lies between the seed and that copy.
    Missing values, words, categories and features of any scale are welcome. Rows of the table
    come back as they were; new rows have no missing values, but in features that no row knows.

    Args:
        sampling_strategy: how many rows each class gets, as in imbalanced-learn.
        random_state: seed of what is drawn.
        k_noise: k1; rows with none of their class among so many neighbours are noise.
        k_border: k2; nearest rows of other classes that make up the border.
        k_informative: k3; nearest rows of the class of each row of the border; None for half.
        closeness_cut: C_f(th), where closeness stops growing.
        closeness_max: C_MAX, the closeness there.
        even_share: of the seeds that are drawn evenly from all rows but noise, 0 to 1.
        deleted_share: of the features of a copy, above 0 and below 1.
        between: new rows lie a random step from seed to copy; otherwise they are the copy.
        stochastic: draw what was deleted; otherwise it is the conditional mean.
        components: of a mixture, in place of one Gaussian.
        shrinkage: share of the identity in covariances, 0 to 1; None for Ledoit and Wolf's.
        num_patterns: at most so many sets of deleted features for each class.
        max_others: of more rows of other classes, so many are drawn at random and k1 shrinks
            with them; None looks for neighbours among all.
        categorical: names or positions of features whose numbers are codes of categories.

    Attributes:
        weights_: label -> probability of each row of the class to be a seed.
        seeds_: row of the seed of each new row.
        missing_mask_: label -> (new rows, features) True for what was deleted or missing.
        statistics_: label -> Gaussians of its numbers, in their units.
        categorical_: (features,) True for categories.

    >>> X = np.array([[0.0, np.nan], [1.0, 1.2], [2.0, 1.9], [7.0, 0.0], [8.0, 0.0], [9.0, 0.1],
    ...               [8.5, 0.0], [7.5, 0.2]])
    >>> X_more, y_more = EWMOTE(random_state=0).fit_resample(X, [1, 1, 1, 0, 0, 0, 0, 0])
    >>> X_more.shape, bool(np.isnan(X_more[8:]).any())
    ((10, 2), False)
    """

    takes_gaps = True
    takes_words = True
    per_class = ("weights_", "missing_mask_", "statistics_")
    missing_mask_: dict[Any, np.ndarray]
    statistics_: dict[Any, Gaussians]

    def __init__(
        self,
        *,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
        k_noise: int = 5,
        k_border: int = 3,
        k_informative: int | None = None,
        closeness_cut: float = 5.0,
        closeness_max: float = 2.0,
        even_share: float = 0.5,
        deleted_share: float = 0.8,
        between: bool = True,
        stochastic: bool = True,
        components: int = 1,
        shrinkage: float | None = None,
        num_patterns: int = 32,
        max_others: int | None = 10_000,
        categorical: Any = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.random_state = random_state
        self.k_noise = k_noise
        self.k_border = k_border
        self.k_informative = k_informative
        self.closeness_cut = closeness_cut
        self.closeness_max = closeness_max
        self.even_share = even_share
        self.deleted_share = deleted_share
        self.between = between
        self.stochastic = stochastic
        self.components = components
        self.shrinkage = shrinkage
        self.num_patterns = num_patterns
        self.max_others = max_others
        self.categorical = categorical

    def check_settings(self) -> None:
        positive(
            k_noise=self.k_noise,
            k_border=self.k_border,
            k_informative=self.k_informative,
            closeness_cut=self.closeness_cut,
            closeness_max=self.closeness_max,
            components=self.components,
            num_patterns=self.num_patterns,
            max_others=self.max_others,
        )
        if not 0 < self.deleted_share < 1:
            raise SettingError(f"deleted_share={self.deleted_share} must be between 0 and 1")
        for name in ("even_share", "shrinkage"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise SettingError(f"{name}={value} must be from 0 to 1")

    def make(
        self,
        label: Any,
        X: np.ndarray,
        own: np.ndarray,
        others: np.ndarray,
        number: int,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        k_noise = self.k_noise
        if self.max_others and len(others) > self.max_others:
            k_noise = max(1, round(k_noise * self.max_others / len(others)))
            others = generator.choice(others, self.max_others, replace=False)
        rows = X[own]
        known = np.concatenate([rows, X[others]])
        space = Space.of(known, self.categorical_)
        points, other_points = np.split(space.points(known), [len(own)])
        weights, noise = seed_weights(
            points,
            other_points,
            k_noise=k_noise,
            k_border=self.k_border,
            k_informative=self.k_informative,
            closeness_cut=self.closeness_cut,
            closeness_max=self.closeness_max,
        )
        weights = (1 - self.even_share) * weights + self.even_share * ~noise / (~noise).sum()
        self.weights_[label] = weights
        seeds = generator.choice(len(own), number, p=weights)
        scores = space.numbers(rows)
        gaps = np.isnan(rows)
        missing = gaps[seeds] if gaps.any() else np.zeros((number, rows.shape[1]), dtype=bool)
        if len(own) < 3:
            warnings.warn(f"class {label} has {FEW[len(own)]}", stacklevel=2)
            made = space.units(_from_few(scores, space.scale, seeds, generator))
        else:
            trusted = np.ones_like(noise) if (~noise).sum() < 3 else ~noise
            changeable = varying(rows[trusted]) | self.categorical_
            deleted = self._deletions(changeable, number, generator)
            missing |= _by_row(deleted, number)
            made = self._imputed(label, space, scores, trusted, seeds, deleted, generator)
        new = made
        if self.categorical_.any():
            new = np.empty(missing.shape)
            new[:, ~self.categorical_] = made
            new[:, self.categorical_] = self._words(X, own, points, seeds, missing, generator)
        self.missing_mask_[label] = missing
        return new, own[seeds]

    def _deletions(
        self, changeable: np.ndarray, number: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Return the features (P, D) that each pattern deletes: not all and not none, if it can.

        Args:
            changeable: (D,) features that may be deleted.
            number: of rows to make.
        """
        where = np.flatnonzero(changeable)
        shape = (min(self.num_patterns, number), len(where))
        counts = np.floor(self.deleted_share * len(where) + generator.random(shape[0]))
        counts = np.clip(counts, min(len(where), 1), max(len(where) - 1, 1))
        ranks = generator.random(shape).argsort(axis=1).argsort(axis=1)
        deleted = np.zeros((shape[0], len(changeable)), dtype=bool)
        deleted[:, where] = ranks < counts[:, None]
        return deleted

    def _imputed(
        self,
        label: Any,
        space: Space,
        scores: np.ndarray,
        trusted: np.ndarray,
        seeds: np.ndarray,
        deleted: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Return the numbers of copies of seeds in which what was deleted is drawn anew.

        Args:
            scores: (N, D') of the class.
            trusted: (N,) True for the rows that the Gaussians are fitted to.
            seeds: (number,) rows of ``scores``.
            deleted: (P, D) features that each pattern deletes.
        """
        free = varying(scores[trusted])
        fixed = space.units(_middle(scores[trusted]))
        if not free.any():
            return np.tile(fixed, (len(seeds), 1))
        copies = scores[:, free]
        model = fit_gaussians(
            copies[trusted],
            components=self.components,
            shrinkage=self.shrinkage,
            generator=generator,
        )
        self.statistics_[label] = _in_units(model, scores[trusted], free, space)
        drawing = generator if self.stochastic else None
        if np.isnan(copies).any():
            copies, seeds = model.fill(copies[seeds], drawing), np.arange(len(seeds))
        made: np.ndarray = copies[seeds]
        bounds = _bounds(len(seeds), len(deleted))
        patterns = deleted[:, ~self.categorical_][:, free]
        for begin, end, pattern in zip(bounds[:-1], bounds[1:], patterns, strict=True):
            part = made[begin:end]
            if pattern.any():
                drawn = model.draw(part, pattern, drawing)
                if self.between:
                    seed = part[:, pattern]
                    drawn -= seed
                    drawn *= generator.random((len(part), 1))
                    drawn += seed
                part[:, pattern] = drawn
            part *= space.scale[free]
            part += space.center[free]
        if free.all():
            return made
        whole = np.tile(fixed, (len(seeds), 1))
        whole[:, free] = made
        return whole

    def _words(
        self,
        X: np.ndarray,
        own: np.ndarray,
        points: np.ndarray,
        seeds: np.ndarray,
        missing: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Return the categories of new rows: where missing, those of a neighbour of the seed."""
        words = X[:, self.categorical_]
        near = nearest(points, points, self.k_noise)[1]
        donors = np.column_stack([np.arange(len(own)), near])
        donor = donors[seeds, generator.integers(donors.shape[1], size=len(seeds))]
        given = _known(words[own], words, generator)
        return np.where(missing[:, self.categorical_], given[donor], words[own][seeds])


def varying(rows: np.ndarray) -> np.ndarray:
    """Return which features (D,) have more than one known value in rows (N, D)."""
    return np.fmax.reduce(rows, axis=0) > np.fmin.reduce(rows, axis=0)


def _by_row(deleted: np.ndarray, number: int) -> np.ndarray:
    """Return the pattern (number, D) of each new row: the rows of a pattern follow each other."""
    return np.repeat(deleted, np.diff(_bounds(number, len(deleted))), axis=0)


def _bounds(number: int, parts: int) -> np.ndarray:
    return np.linspace(0, number, parts + 1).astype(int)


def _middle(scores: np.ndarray) -> np.ndarray:
    """Return a value (D,) for gaps of features that do not vary: theirs, or the mean of all rows."""
    return np.nan_to_num(np.fmin.reduce(scores, axis=0))


def _in_units(model: Gaussians, scores: np.ndarray, free: np.ndarray, space: Space) -> Gaussians:
    """Return Gaussians of all numbers in their own units; those that do not vary have no variance."""
    num, d = len(model.weights), len(free)
    means = np.repeat(_middle(scores)[None], num, axis=0)
    means[:, free] = model.means
    covariances = np.zeros((num, d, d))
    covariances[:, np.outer(free, free)] = model.covariances.reshape(num, -1)
    return Gaussians(
        model.weights, space.units(means), covariances * np.outer(space.scale, space.scale)
    )


def _from_few(
    scores: np.ndarray, scale: np.ndarray, seeds: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Return new numbers of a class with two rows, or with one."""
    filled = np.where(np.isnan(scores), _middle(scores), scores)
    if len(filled) == 2:
        steps = generator.random((len(seeds), 1))
        return filled[0] + steps * (filled[1] - filled[0])
    noise = generator.standard_normal((len(seeds), scores.shape[1]))
    return filled[seeds] + JITTER * noise * (scale > 0)


def _known(rows: np.ndarray, all_rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return rows of a class whose gaps are filled with values of the class, or else of all rows."""
    filled = rows.copy()
    for i in np.flatnonzero(np.isnan(rows).any(axis=0)):
        for source in (rows[:, i], all_rows[:, i]):
            values = source[~np.isnan(source)]
            if len(values):
                gaps = np.isnan(filled[:, i])
                filled[gaps, i] = generator.choice(values, gaps.sum())
    return filled
