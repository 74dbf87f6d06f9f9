"""Judging: nothing leaks, and the figures are those of scikit-learn."""

from typing import ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
from imblearn.base import BaseSampler
from imblearn.over_sampling import SMOTE, RandomOverSampler
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import modicum as mo
from modicum.errors import DataError, SettingError
from modicum.methods.imbalance.evaluate import measures
from modicum.methods.imbalance.folds import make_folds

LEARNERS = {"logistic": LogisticRegression()}


@pytest.fixture(scope="module")
def table():
    return make_classification(160, weights=[0.85], flip_y=0.05, random_state=0)


class Spy(BaseSampler):
    """Notes the rows that it is given; the first feature is their number."""

    _sampling_type = "bypass"
    seen: ClassVar[list[set[int]]] = []

    def fit_resample(self, X, y):
        Spy.seen.append(set(X[:, 0].astype(int)))
        return X, y

    def _fit_resample(self, X, y):
        return X, y


@pytest.mark.parametrize("settings", [{}, {"threshold": "tuned"}, {"calibrate": "sigmoid"}])
def test_samplers_see_the_training_part_alone(table, settings):
    X, y = table
    X = np.column_stack([np.arange(160.0), X])
    Spy.seen = []
    learners = {"logistic": make_pipeline(StandardScaler(), LogisticRegression())}
    mo.imbalance.evaluate(
        X, y, learners=learners, samplers={"spy": Spy()}, progress=False, **settings
    )
    allowed = [set(fold.train.tolist()) for fold in make_folds(y, 5)]
    assert len(Spy.seen) >= 5
    assert all(any(seen <= train for train in allowed) for seen in Spy.seen)
    assert {len(seen) for seen in Spy.seen if len(seen) > 110} == {128}


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, 50), rng.random(50)
    found = measures(truth, np.column_stack([1 - p, p]), (p > 0.5).astype(int))
    assert found["average precision"] == pytest.approx(average_precision_score(truth, p))
    assert found["brier"] == pytest.approx(brier_score_loss(truth, p))
    assert found["balanced accuracy"] == pytest.approx(balanced_accuracy_score(truth, p > 0.5))


def test_every_learner_after_every_sampler(table):
    found = mo.imbalance.evaluate(
        *table,
        learners=LEARNERS | {"k-NN": KNeighborsClassifier(), "forest": RandomForestClassifier(5)},
        samplers={"nothing": None, "weights": "class weights", "EWMOTE": mo.EWMOTE()},
        prepare=StandardScaler(),
        folds=3,
        progress=False,
    )
    arms = set(found.folds.select("learner", "sampler").iter_rows())
    assert len(arms) == 8 and ("k-NN", "weights") not in arms
    assert found.protocol["positive"] == "1" and found.protocol["classes"]["1"] < 80
    assert found.table("mcc").columns == ["sampler", "logistic", "k-NN", "forest"]
    assert str(found).count("[") == 8 * 5


def test_processes_give_the_same(table):
    ask = {"learners": LEARNERS, "samplers": {"random": RandomOverSampler()}, "progress": False}
    one = mo.imbalance.evaluate(*table, **ask)
    two = mo.imbalance.evaluate(*table, **ask, n_jobs=2)
    assert one.folds.drop("seconds").equals(two.folds.drop("seconds"))


def test_the_interval_is_corrected_for_shared_rows(table):
    found = mo.imbalance.evaluate(
        *table, learners=LEARNERS, samplers={"nothing": None}, progress=False
    )
    row = found.summary.row(by_predicate=pl.col("metric") == "mcc", named=True)
    reach = 2.7764 * found.folds["mcc"].std() * np.sqrt(1 / 5 + 32 / 128)
    assert row["high"] - row["mean"] == pytest.approx(reach, rel=1e-4)


def test_many_classes_frames_gaps_and_time(tmp_path):
    X, y = make_classification(200, n_classes=3, n_informative=5, random_state=0)
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    names = np.array(["a", "b", "c"])[y]
    learners = {"logistic": make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500))}
    found = mo.imbalance.evaluate(
        pd.DataFrame(X),
        names,
        learners=learners,
        samplers={"EWMOTE": mo.EWMOTE()},
        time=np.arange(200),
        folds=3,
        progress=False,
    )
    assert found.protocol["positive"] is None and found.protocol["cut by"] == "time"
    page = found.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "200 rows" in page and "<svg" in page


def test_probabilities_that_are_all_alike_leave_the_threshold_at_a_half():
    X, y = np.zeros((60, 2)), np.repeat([0, 1], [45, 15])
    ask = {"learners": LEARNERS, "samplers": {"nothing": None}, "progress": False}
    tuned = mo.imbalance.evaluate(X, y, **ask, threshold="tuned")
    half = mo.imbalance.evaluate(X, y, **ask)
    assert tuned.table("mcc").equals(half.table("mcc"))


def test_a_tuned_threshold_changes_predictions_and_not_their_order(table):
    ask = {"learners": LEARNERS, "samplers": {"nothing": None}, "progress": False}
    half = mo.imbalance.evaluate(*table, **ask)
    tuned = mo.imbalance.evaluate(*table, **ask, threshold="tuned")
    assert half.table("average precision").equals(tuned.table("average precision"))
    assert not half.table("mcc").equals(tuned.table("mcc"))


@pytest.mark.parametrize(
    ("y", "settings", "problem"),
    [
        (np.arange(60) % 3, {"threshold": "tuned"}, SettingError),
        (np.arange(60) % 2, {"threshold": "best"}, SettingError),
        (np.arange(60) % 2, {"samplers": {"a": "weights"}}, SettingError),
        (np.zeros(60), {}, DataError),
        (np.array([None, *"ab" * 29, "a"], dtype=object), {}, DataError),
    ],
)
def test_what_does_not_go_together_is_said(y, settings, problem):
    ask = {"learners": LEARNERS, "samplers": {"SMOTE": SMOTE()}, "progress": False} | settings
    with pytest.raises(problem):
        mo.imbalance.evaluate(np.random.default_rng(0).normal(size=(60, 2)), y, **ask)
