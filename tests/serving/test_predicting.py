"""Models that predict for rows, over HTTP: what they answer is what they predict."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

import modicum as mo
from modicum.serving.predicting import PairPredictor, create_predict_app
from modicum.serving.shell import Limits

HERE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    random = np.random.default_rng(0)
    click = random.random(400) < 0.4
    return pl.DataFrame(
        {
            "city": random.choice(["a", "b", "c"], 400),
            "age": random.normal(size=400),
            "click": click.astype(int),
            "conversion": (click & (random.random(400) < 0.3)).astype(int),
        }
    )


@pytest.fixture(scope="module", params=["ESMM", "APEM"])
def funnel(request, table):
    made = getattr(mo, request.param)(funnel=mo.Funnel("click", "conversion"), epochs=1)
    return made.fit(table, progress=False)


def test_answers_are_the_predictions_of_the_model(funnel, table):
    rows = [{"city": "a", "age": 1}, {"city": "new", "age": None}, {"city": None, "age": -0.5}]
    with TestClient(create_predict_app(funnel), base_url=HERE) as client:
        told = client.post("/predict", json={"rows": rows}).json()
    expected = funnel.predict(pl.DataFrame(rows, schema={"city": pl.String, "age": pl.Float64}))
    assert told["model"] == funnel.name
    # A thread of the server may share its sums out differently.
    assert_frame_equal(pl.DataFrame(told["predictions"]), expected.cast(pl.Float64), abs_tol=1e-6)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "rows"),
        ([{}], "rows"),
        ([{"city": "a"}], "no column 'age'"),
        ([{"city": "a", "age": 1, "more": 2}], "without the column 'more'"),
        ([{"city": "a", "age": "old"}], "age"),
        ([{"city": ["a"], "age": 1}], "rows"),
        ([{"city": "a" * 2000, "age": 1}], "rows"),
        ([{"city": "a", "age": 1}] * 1001, "1000"),
        ([{str(name): 1 for name in range(600)}], "512"),
    ],
)
def test_rows_that_do_not_fit_are_told_why(funnel, rows, words):
    with TestClient(create_predict_app(funnel), base_url=HERE) as client:
        answer = client.post("/predict", json={"rows": rows})
    assert answer.status_code == 422 and words in answer.json()["error"]


def test_a_rater_predicts_pairs(table):
    random = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "user": random.integers(0, 20, 300),
            "item": random.integers(0, 15, 300),
            "value": random.integers(1, 6, 300),
        }
    ).unique(["user", "item"], maintain_order=True)
    ratings = mo.read_ratings(frame, user="user", item="item", value="value", positive=4)
    rater = mo.Naive(dim=2, epochs=1).fit(ratings, progress=False)
    with TestClient(create_predict_app(PairPredictor(rater)), base_url=HERE) as client:
        body = {"rows": [{"user": 3, "item": 4}, {"user": 999, "item": 4}]}
        told = client.post("/predict", json=body).json()["predictions"]
        wrong = client.post("/predict", json={"rows": [{"user": 3}]})
    assert [x["value"] for x in told] == rater.predict([3, 999], [4, 4]).tolist()
    assert wrong.status_code == 422 and "user and item" in wrong.json()["error"]


def test_out_of_time_is_said(funnel, monkeypatch):
    app = create_predict_app(funnel, Limits(budget_s=1e-9))
    with TestClient(app, base_url=HERE) as client:
        answer = client.post("/predict", json={"rows": [{"city": "a", "age": 1}]})
    assert answer.status_code == 503 and "ask again later" in answer.json()["error"]
