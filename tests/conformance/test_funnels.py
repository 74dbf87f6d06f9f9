"""Every method of the conversion family, found by itself: what all of them promise."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import modicum
from modicum.data.funnel import Funnel
from modicum.data.simulate_funnel import simulate_funnel
from modicum.errors import DataError
from modicum.methods.conversion.funnel_model import FunnelModel
from modicum.methods.finding import CONVERSION, find_methods
from modicum.training.rows import RowBatch

METHODS = {word: found.load() for word, found in find_methods(*CONVERSION).items()}

TINY: dict[str, Any] = {
    "dim": 4,
    "hidden": 8,
    "layers": 1,
    "bins": 4,
    "experts": 2,
    "epochs": 1,
    "batch_size": 128,
    "learning_rate": 1e-2,
    "warmup_steps": 1,
    "device": "cpu",
}
"""A small value for each field name that decides how long a training takes."""

TASKS = ("click", "conversion")


def make(method: type[FunnelModel], **settings: Any) -> FunnelModel:
    names = {field.name for field in dataclasses.fields(method)}
    tiny = {name: value for name, value in TINY.items() if name in names}
    return method(**{"funnel": Funnel(*TASKS)} | tiny | settings)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return simulate_funnel(600, seed=0).frame


@pytest.fixture(scope="module", params=METHODS.values(), ids=METHODS)
def method(request: pytest.FixtureRequest) -> type[FunnelModel]:
    return request.param


@pytest.fixture(scope="module")
def model(method: type[FunnelModel], rows: pl.DataFrame) -> FunnelModel:
    return make(method).fit(rows, validation=rows.tail(200), progress=False)


def test_every_file_is_a_method_with_a_public_name():
    assert {"singletask", "sharedbottom", "mmoe", "ple", "esmm", "aitm", "stem", "apem"} <= {
        *METHODS
    }
    for word, found in METHODS.items():
        assert issubclass(found, FunnelModel)
        assert getattr(modicum, found.__name__) is found
        assert make(found).name == word


@pytest.mark.parametrize("product", [True, False])
def test_training_begins_near_the_base_rates(method, product):
    rare = simulate_funnel(2_000, rates=(0.05, 0.3), seed=0).frame
    if not product and method is modicum.ESMM:
        pytest.skip("ESMM is the product of its steps")
    untaught = make(method, learning_rate=1e-9, product=product).fit(rare, progress=False)
    found, clicked = untaught.predict(rare), rare.filter(pl.col("click") == 1)
    assert 0.6 < found["p(click)"].mean() / rare["click"].mean() < 1.6
    assert 0.6 < found["p(conversion|click)"].mean() / clicked["conversion"].mean() < 1.6


def test_outputs_are_probabilities_that_never_rise_along_the_funnel(model, rows):
    found = model.predict(rows)
    assert found.columns == ["p(click)", "p(conversion|click)", "p(conversion)"]
    values = found.to_numpy()
    assert len(found) == len(rows) and ((values > 0) & (values <= 1)).all()
    assert (found["p(conversion)"] <= found["p(click)"]).all()
    np.testing.assert_allclose(values[:, 2], values[:, 0] * values[:, 1], rtol=1e-9)


def test_a_saved_model_predicts_the_same(model, rows, tmp_path: Path):
    again = modicum.load(model.save(tmp_path))
    assert type(again) is type(model) and again.settings() == model.settings()
    assert again.predict(rows).equals(model.predict(rows))
    assert again.training_log == model.training_log and again.lineage == model.lineage


def test_the_same_seed_gives_the_same_model(method, model, rows):
    again = make(method).fit(rows, validation=rows.tail(200), progress=False)
    assert again.predict(rows).equals(model.predict(rows))


def test_rows_do_not_depend_on_each_other_or_their_order(model, rows):
    found = model.predict(rows).to_numpy()
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(model.predict(rows[order]).to_numpy(), found[order], rtol=1e-4)
    np.testing.assert_allclose(model.predict(rows[7:9]).to_numpy(), found[7:9], rtol=1e-4)


def test_columns_may_stand_in_another_order(model, rows):
    assert model.predict(rows.select(sorted(rows.columns))).equals(model.predict(rows))


def test_labels_are_not_read_when_predicting(model, rows):
    wanted = model.predict(rows)
    assert model.predict(rows.drop(TASKS)).equals(wanted)
    assert model.predict(rows.with_columns(click=pl.lit(None))).equals(wanted)


def test_unseen_categories_and_missing_values_are_answered(model, rows):
    odd = rows.head(4).with_columns(
        city=pl.Series(["nowhere", None, "nowhere", None]),
        device=pl.Series([None, "phone", "abacus", None]),
        age=pl.Series([None, 1e9, float("nan"), -1e9]),
        income=pl.lit(None, dtype=pl.Float64),
    )
    found = model.predict(odd).to_numpy()
    assert np.isfinite(found).all() and ((found > 0) & (found <= 1)).all()


def test_a_masked_label_adds_exactly_no_gradient(model, rows):
    encoded = model.features.encode(rows.head(64))
    columns = {name: torch.from_numpy(values) for name, values in encoded.items()}
    labels = torch.full((64, 2), torch.nan)
    model._network.eval()
    model._network.zero_grad()
    losses = model._network.losses(RowBatch(columns | {"labels": labels}))
    torch.stack([losses[task] for task in TASKS]).sum().backward()
    gradients = [p.grad for p in model._network.parameters() if p.grad is not None]
    model._network.zero_grad()
    if type(model).__name__ != "AITM":  # its calibrator compares predictions, not labels
        assert all((gradient == 0).all() for gradient in gradients)


def test_rows_without_labels_change_no_figure_of_the_others(model, rows):
    masked = rows.with_columns(
        pl.when(pl.int_range(pl.len()) < 300).then(task).alias(task) for task in TASKS
    )
    known = modicum.evaluate(model, rows.head(300))
    report = modicum.evaluate(model, masked)
    assert report.levels["rows"].to_list() == known.levels["rows"].to_list()
    np.testing.assert_allclose(report.summary["mean"], known.summary["mean"], rtol=1e-4)


def test_missing_labels_can_be_learnt_from(method, rows):
    random = np.random.default_rng(0)
    gaps = rows.with_columns(
        pl.Series(task, pl.Series(random.random(len(rows)) < 0.7)).replace_strict(
            {True: 1, False: None}, return_dtype=pl.Int8
        )
        * pl.col(task)
        for task in TASKS
    )
    fitted = make(method).fit(gaps, progress=False)
    assert np.isfinite(fitted.predict(rows).to_numpy()).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.drop("age"), "no column 'age'"),
        (lambda rows: rows.rename({"age": "aeg"}), "is it 'aeg'"),
        (lambda rows: rows.with_columns(extra=1), "without the column 'extra'"),
        (lambda rows: rows.with_columns(age=pl.lit("old")), "'old' is no number"),
        (lambda rows: rows.with_columns(city=7), "'city' held text"),
    ],
)
def test_a_table_of_other_columns_is_refused(model, rows, change, said):
    with pytest.raises(DataError, match=said):
        model.predict(change(rows))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.with_columns(click=0), "'conversion' is 1, but 'click'"),
        (lambda rows: rows.with_columns(click=pl.col("click") * 2), "2 is no label"),
        (lambda rows: rows.with_columns(conversion=0), "no row reached 'conversion'"),
        (lambda rows: rows.drop("click"), "no column 'click'"),
        (lambda rows: rows.with_columns(copy=pl.col("click")), "'copy'.*AUC"),
        (lambda rows: rows.select(TASKS), "no features"),
    ],
)
def test_rows_that_cannot_be_learnt_from_are_refused(method, rows, change, said):
    with pytest.raises(DataError, match=said):
        make(method).fit(change(rows), progress=False)


def test_three_steps_and_tasks_beside_them(method, rows):
    wide = rows.rename({"conversion": "buy"}).with_columns(
        cart=pl.col("buy"), hide=1 - pl.col("click")
    )
    wide = wide.with_columns(hide=pl.col("hide") * (pl.int_range(pl.len()) % 2))
    funnel = Funnel("click", "cart", "buy", after={"hide": None})
    try:
        fitted = make(method, funnel=funnel).fit(wide, progress=False)
    except modicum.errors.SettingError as error:
        assert "funnel" in str(error)  # a method of a plain chain says so
        return
    found = fitted.predict(wide)
    assert found.columns == funnel.outputs
    assert (found["p(buy)"] <= found["p(cart)"]).all()


def test_the_report_shows_what_tasks_used_where_the_method_says(model, rows):
    report = modicum.evaluate(model, rows, k=(5, 10))
    assert report.groups == ["p(click)", "p(conversion|click)", "p(conversion)"]
    for table in report.tables.values():
        shares = table.select(TASKS).to_numpy()
        np.testing.assert_allclose(shares.sum(0), 1)
    assert "lift@5%" in report.metrics and report.protocol["model"] == model.name
