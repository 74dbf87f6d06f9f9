"""Judging learners and samplers without a leak: what is learnt is learnt within each fold."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from imblearn.pipeline import Pipeline
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    make_scorer,
    matthews_corrcoef,
)
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline as PlainPipeline
from sklearn.utils.parallel import Parallel, delayed

from modicum.errors import DataError, SettingError
from modicum.evaluation.progress import followed
from modicum.methods.imbalance.evaluation import Evaluation
from modicum.methods.imbalance.folds import Fold, make_folds
from modicum.methods.imbalance.rows import is_pandas, is_polars

INNER_FOLDS = 3
"""Folds of a training part on which a threshold is tuned and probabilities are calibrated."""

BALANCED = "class weights"
"""In place of a sampler: the learner weighs classes by the inverse of their frequency."""


def evaluate(
    X: Any,
    y: Any,
    *,
    learners: Mapping[str, Any],
    samplers: Mapping[str, Any],
    prepare: Any = None,
    folds: int = 5,
    repeats: int = 1,
    groups: Any = None,
    time: Any = None,
    threshold: Literal["half", "tuned"] = "half",
    calibrate: Literal["sigmoid", "isotonic"] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    progress: bool = True,
) -> Evaluation:
    """Judge every learner after every sampler, on folds that neither of them has seen.

    In each fold the preparation, the sampler, the threshold and the calibration see the training
    part alone; the test part is never resampled. The rarest class is the positive one of two.

    Args:
        X: (N, D) table that all parts take.
        y: (N,) labels of two classes or more.
        learners: name -> scikit-learn classifier with ``predict_proba``.
        samplers: name -> imbalanced-learn sampler, ``None`` to do nothing, or ``"class weights"``
            for learners that have them; others are left out of it.
        prepare: transformer in front of the sampler, such as a scaler or an imputer.
        folds, repeats: how often the rows are cut, and dealt anew.
        groups: (N,) rows of one group stay together.
        time: (N,) each fold is tested on rows later than those it learns from.
        threshold: ``"tuned"`` takes the one with the best MCC in folds of the training part (a half
            where such a fold gets one probability for all rows); with two classes only. Otherwise
            the most probable class is predicted.
        calibrate: calibrates probabilities in folds of the training part.
        seed: of folds, samplers and learners.
        n_jobs: processes; folds are shared among them.
        progress: show how many fits are done.

    Raises:
        DataError: labels do not fit, or a class is too small for the folds.
        SettingError: a choice is unknown or does not go with others.

    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = make_classification(200, weights=[0.9], random_state=0)
    >>> found = evaluate(X, y, learners={"logistic": LogisticRegression()},
    ...                  samplers={"nothing": None, "weights": "class weights"}, progress=False)
    >>> found.folds.shape[0], found.summary["metric"].n_unique()
    (10, 5)
    """
    if threshold not in ("half", "tuned") or calibrate not in (None, "sigmoid", "isotonic"):
        raise SettingError(
            f"threshold={threshold!r} must be 'half' or 'tuned', and calibrate={calibrate!r} None, "
            "'sigmoid' or 'isotonic'"
        )
    classes, codes = labels(y)
    if threshold == "tuned" and len(classes) > 2:
        raise SettingError(f"threshold='tuned' is for two classes; here are {len(classes)}")
    cut = make_folds(codes, folds, repeats=repeats, groups=groups, time=time, seed=seed)
    arms = [
        Arm(name, way, steps, threshold == "tuned", calibrate)
        for name, learner in learners.items()
        for way, sampler in samplers.items()
        if (steps := _steps(prepare, sampler, learner)) is not None
    ]
    order = {"groups": groups, "time": time}
    jobs = [(arm, fold) for arm in arms for fold in cut]
    work = (delayed(_judge)(arm, fold, X, codes, order, seed) for arm, fold in jobs)
    stream: Iterator[dict[str, Any]] = Parallel(n_jobs=n_jobs, return_as="generator")(work)
    parts = [slice(i, i + 1) for i in range(len(jobs))]
    rows = [next(stream) for _ in followed("evaluate", parts, shown=progress, what="fits")]
    way = "time" if time is not None else "groups" if groups is not None else "classes"
    return Evaluation(
        pl.DataFrame(rows),
        {
            "rows": len(codes),
            "classes": {str(name): int((codes == i).sum()) for i, name in enumerate(classes)},
            "positive": str(classes[-1]) if len(classes) == 2 else None,
            "folds": folds,
            "repeats": repeats,
            "cut by": way,
            "threshold": threshold,
            "calibration": calibrate or "none",
            "seed": seed,
        },
    )


def labels(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return classes from the most frequent to the rarest, and the place of each label there.

    Raises:
        DataError: a label is missing, or there is only one class.

    >>> labels(["a", "b", "a"])[1].tolist()
    [0, 1, 0]
    """
    values = np.asarray(y)
    if values.dtype == object and any(value is None or value != value for value in values):
        raise DataError("labels are missing; drop their rows")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise DataError("labels are missing; drop their rows")
    classes, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError("there is only one class; nothing can be learnt")
    order = np.argsort(-counts, kind="stable")
    return classes[order], np.argsort(order)[codes]


@dataclass(frozen=True)
class Arm:
    """A learner after a sampler, with what comes before and behind.

    Args:
        learner, sampler: names.
        steps: of the pipeline, not yet fitted.
        tuned: tune the threshold.
        calibration: method, None without.
    """

    learner: str
    sampler: str
    steps: Sequence[tuple[str, Any]]
    tuned: bool
    calibration: str | None

    def model(self, seed: int, inner: Any) -> Any:
        """Return the classifier to fit.

        Args:
            seed: of all its steps.
            inner: folds of the training part; called only where they are needed.
        """
        steps = [(name, _seeded(step, seed)) for name, step in self.steps]
        model: Any = Pipeline(steps)
        if self.calibration:
            model = CalibratedClassifierCV(
                model, method=self.calibration, cv=inner(), ensemble=False
            )
        if self.tuned:
            scoring = make_scorer(matthews_corrcoef)
            model = TunedThresholdClassifierCV(model, scoring=scoring, cv=inner())
        return model


def _steps(prepare: Any, sampler: Any, learner: Any) -> list[tuple[str, Any]] | None:
    """Return the steps of a pipeline, None if the learner knows no class weights."""
    if isinstance(sampler, str):
        if sampler != BALANCED:
            raise SettingError(f"{sampler!r} is no sampler; give one, None, or {BALANCED!r}")
        names = [name for name in learner.get_params() if name.split("__")[-1] == "class_weight"]
        if not names:
            return None
        learner = clone(learner).set_params(**dict.fromkeys(names, "balanced"))
        sampler = None
    # imbalanced-learn takes no pipeline within a pipeline, but as its last step.
    before = prepare.steps if isinstance(prepare, PlainPipeline) else [("prepare", prepare)]
    steps = [*before, ("sample", sampler), ("learn", learner)]
    return [(name, step) for name, step in steps if step is not None]


def _seeded(step: Any, seed: int) -> Any:
    """Return a copy of a step all of whose random states are given."""
    step = clone(step)
    names = [name for name in step.get_params() if name.split("__")[-1] == "random_state"]
    return step.set_params(**dict.fromkeys(names, seed))


def _judge(
    arm: Arm, fold: Fold, X: Any, codes: np.ndarray, order: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Fit an arm to a fold's training part, and return its figures on the test part."""
    own: dict[str, Any] = {
        name: None if values is None else np.asarray(values)[fold.train]
        for name, values in order.items()
    }

    def inner() -> list[tuple[np.ndarray, np.ndarray]]:
        made = make_folds(codes[fold.train], INNER_FOLDS, seed=seed, **own)
        return [(part.train, part.test) for part in made]

    begin = clock.perf_counter()
    model = arm.model(seed + fold.repeat, inner)
    try:
        model.fit(take(X, fold.train), codes[fold.train])
    except ValueError:
        if not arm.tuned:
            raise
        # Probabilities that are all alike in one inner fold leave no threshold to tune.
        model = replace(arm, tuned=False).model(seed + fold.repeat, inner)
        model.fit(take(X, fold.train), codes[fold.train])
    seconds = clock.perf_counter() - begin
    test = take(X, fold.test)
    found = measures(codes[fold.test], model.predict_proba(test), model.predict(test))
    return {
        "learner": arm.learner,
        "sampler": arm.sampler,
        "repeat": fold.repeat,
        "fold": fold.number,
        "n_train": len(fold.train),
        "n_test": len(fold.test),
        "seconds": seconds,
        **found,
    }


def measures(
    truth: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray
) -> dict[str, float]:
    """Return the figures of predictions; the last of two classes is the positive one.

    Average precision of more than two classes is the mean of that of each against the rest, and
    the Brier score the sum of squares over the classes; lower is better only for the latter.

    Args:
        truth, predicted: (N,) places of classes.
        probabilities: (N, C).

    >>> truth, p = np.array([0, 0, 1]), np.array([0.1, 0.6, 0.4])
    >>> measures(truth, np.column_stack([1 - p, p]), (p > 0.5).astype(int))["average precision"]
    0.5
    """
    hits = truth[:, None] == np.arange(probabilities.shape[1])
    squares = ((probabilities - hits) ** 2).sum(axis=1).mean()
    two = probabilities.shape[1] == 2
    columns = [1] if two else np.flatnonzero(hits.any(axis=0)).tolist()
    precisions = [
        average_precision_score(hits[:, i], probabilities[:, i]) if hits[:, i].any() else np.nan
        for i in columns
    ]
    recalls = (hits & (truth == predicted)[:, None]).sum(axis=0) / np.maximum(hits.sum(axis=0), 1)
    return {
        "average precision": float(np.mean(precisions)),
        "mcc": float(matthews_corrcoef(truth, predicted)),
        "macro f1": float(f1_score(truth, predicted, average="macro", zero_division=0.0)),
        "balanced accuracy": float(recalls[hits.any(axis=0)].mean()),
        "brier": float(squares / 2 if two else squares),
    }


def take(X: Any, rows: np.ndarray) -> Any:
    """Return rows of a table of any kind."""
    if is_pandas(X):
        return X.iloc[rows]
    if is_polars(X):
        return X[rows]
    return np.asarray(X)[rows] if isinstance(X, list) else X[rows]
