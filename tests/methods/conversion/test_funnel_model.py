"""What all models of funnels share: reading, streaming, calibration, trees, refusals."""

import numpy as np
import polars as pl
import pytest

import modicum as mo
from modicum.data.simulate_funnel import simulate_funnel
from modicum.errors import DataError, NotFittedError, ResourceError, SettingError
from modicum.methods.conversion import funnel_model
from modicum.methods.conversion.calibration import (
    calibrated,
    fit_calibration,
    inverse_temperature,
    log_odds,
)

SMALL = {
    "dim": 4,
    "hidden": 8,
    "layers": 1,
    "epochs": 2,
    "batch_size": 64,
    "learning_rate": 1e-2,
    "device": "cpu",
}
FUNNEL = mo.Funnel("click", "conversion")


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return simulate_funnel(1_000, seed=0).frame


def model(**settings) -> mo.SharedBottom:
    return mo.SharedBottom(**{"funnel": FUNNEL, **SMALL} | settings)


def test_a_file_and_a_frame_give_the_same_model(rows, tmp_path):
    rows.write_parquet(tmp_path / "t.parquet")
    rows.write_csv(tmp_path / "t.csv")
    wanted = model().fit(rows, progress=False).predict(rows)
    for source in (tmp_path / "t.parquet", tmp_path / "t.csv", rows.to_pandas()):
        fitted = model().fit(source, progress=False)
        assert fitted.predict(source).equals(wanted)


def test_many_rows_are_read_piece_by_piece(rows, tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    rows.write_parquet(path, row_group_size=200)
    monkeypatch.setattr(funnel_model, "IN_MEMORY", 100)
    fitted = model(epochs=4).fit(path, validation=rows.head(200), progress=False)
    assert fitted.training_log[-1]["targets"] == 1_000
    assert fitted.training_log[-1]["losses"]["click"] < fitted.training_log[0]["losses"]["click"]


def test_training_resumes_where_it_was_stopped(rows, tmp_path):
    whole = model(epochs=3).fit(rows, progress=False)
    model(epochs=3).fit(rows, folder=tmp_path, progress=False)
    again = model(epochs=3).fit(rows, folder=tmp_path, progress=False)
    assert again.predict(rows).equals(whole.predict(rows))


def test_tasks_beside_the_chain_are_predicted(rows):
    likes = np.random.default_rng(0).random(len(rows)) < 0.4
    wide = rows.with_columns(like=pl.Series(likes) & (pl.col("click") == 1), hide=pl.Series(likes))
    funnel = mo.Funnel("click", "conversion", after={"like": "click", "hide": None})
    fitted = model(funnel=funnel).fit(wide, progress=False)
    found = fitted.predict(wide)
    assert found.columns == funnel.outputs
    np.testing.assert_allclose(
        found["p(like)"], found["p(click)"] * found["p(like|click)"], rtol=1e-12
    )


def test_direct_heads_give_the_quotient_and_stay_monotone(rows):
    found = model(product=False).fit(rows, progress=False).predict(rows)
    assert (found["p(conversion)"] <= found["p(click)"]).all()
    np.testing.assert_allclose(
        found["p(conversion)"], found["p(click)"] * found["p(conversion|click)"], rtol=1e-9
    )


@pytest.mark.parametrize("calibration", ["isotonic", "temperature"])
def test_calibration_is_kept_and_stays_monotone(rows, tmp_path, calibration):
    fitted = model(calibration=calibration, epochs=1).fit(rows[:600], rows[600:], progress=False)
    raw = model(epochs=1).fit(rows[:600], rows[600:], progress=False)
    found, before = fitted.predict(rows), raw.predict(rows)
    assert not found.equals(before)
    assert (found["p(conversion)"] <= found["p(click)"]).all()
    assert mo.load(fitted.save(tmp_path)).predict(rows).equals(found)

    def loss(frame: pl.DataFrame) -> float:
        p, y = frame["p(click)"][600:], rows["click"][600:]
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    assert loss(found) < loss(before)


def test_a_temperature_is_found_and_an_isotonic_map_rises():
    rng = np.random.default_rng(0)
    truth = rng.normal(-1, 1.5, 20_000)
    came = (rng.random(20_000) < 1 / (1 + np.exp(-truth))).astype(float)
    assert inverse_temperature(came, 2 * truth) == pytest.approx(0.5, rel=0.05)
    said = 1 / (1 + np.exp(-2 * truth))
    for kind in ("isotonic", "temperature"):
        mapped = calibrated(said, fit_calibration(kind, came, said))
        order = np.argsort(said)
        assert (np.diff(mapped[order]) >= 0).all()
        assert np.abs(log_odds(mapped) - truth)[np.abs(truth) < 2].mean() < 0.25


def test_calibration_needs_validation_rows(rows):
    with pytest.raises(SettingError, match="pass validation"):
        model(calibration="isotonic").fit(rows, progress=False)


def test_a_leak_among_the_features_is_refused_until_it_is_ignored(rows):
    leaky = rows.with_columns(spend=pl.col("conversion") * 9.99)
    with pytest.raises(DataError, match=r"'spend'.*'conversion'.*ignore=\('spend',\)"):
        model().fit(leaky, progress=False)
    fitted = model(ignore=("spend",)).fit(leaky, progress=False)
    assert "spend" not in fitted.features.names
    assert fitted.predict(leaky).equals(fitted.predict(rows))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"funnel": "click"}, "must be a funnel"),
        ({"ignore": "spend"}, "list of columns"),
        ({"calibration": "platt"}, "calibration='platt'"),
        ({"bins": 0}, "bins=0"),
        ({"dropout": 1.0}, "dropout"),
        ({"epochs": 0}, "epochs=0"),
        ({"hidden": 1.5}, "hidden=1.5 must be a whole number"),
        ({"product": 1}, "product=1 must be True or False"),
    ],
)
def test_settings_out_of_range_are_refused(rows, settings, said):
    with pytest.raises(SettingError, match=said):
        model(**settings).fit(rows, progress=False)


def test_a_column_to_ignore_that_is_not_there_is_refused(rows):
    with pytest.raises(DataError, match=r"no column 'ages'; did you mean 'age'"):
        model(ignore=("ages",)).fit(rows, progress=False)


def test_nothing_is_predicted_before_fitting(rows):
    with pytest.raises(NotFittedError, match="sharedbottom"):
        model().predict(rows)


def test_no_rows_give_no_predictions(rows):
    fitted = model().fit(rows, progress=False)
    assert fitted.predict(rows.clear()).columns == FUNNEL.outputs
    with pytest.raises(DataError, match="polars frame has no data rows"):
        model().fit(rows.clear(), progress=False)


def test_a_table_of_nothing_but_a_header_is_named(rows, tmp_path):
    rows.clear().write_csv(tmp_path / "impressions.csv")
    with pytest.raises(DataError, match=r"impressions\.csv has no data rows"):
        model().fit(tmp_path / "impressions.csv", progress=False)


def test_without_validation_all_epochs_are_trained_and_with_it_the_best_is_kept(rows):
    assert len(model(epochs=3).fit(rows, progress=False).training_log) == 3
    log = model(epochs=30, patience=1, learning_rate=0.1).fit(
        rows[:700], rows[700:], progress=False
    )
    values = [record["validation"] for record in log.training_log]
    assert len(values) < 30 and values[-1] <= max(values)


def test_a_known_funnel_is_recovered():
    made = simulate_funnel(8_000, selection=0.0, seed=1)
    settings = {"epochs": 6, "dim": 8, "hidden": 32, "batch_size": 128, "learning_rate": 3e-3}
    fitted = model(**settings).fit(made.frame, progress=False)
    found = fitted.predict(made.frame)
    for task, (name, least) in enumerate((("p(click)", 0.75), ("p(conversion)", 0.6))):
        said, truth = found[name].to_numpy(), made.reach[:, task]
        assert np.corrcoef(said, truth)[0, 1] > least
        assert said.mean() == pytest.approx(truth.mean(), rel=0.15)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_built(rows):
    with pytest.raises(ResourceError, match="training sharedbottom needs"):
        model(hidden=10**8).fit(rows, progress=False)
