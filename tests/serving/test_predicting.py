"""Models that predict for rows, over HTTP: what they answer is what they predict."""

import shutil
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

import modicum as mo
from modicum.data.simulate import simulate_markov
from modicum.data.split import split
from modicum.serving.predicting import LivePredictor, create_predict_app
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


@pytest.fixture(scope="module")
def saved(table, tmp_path_factory):
    """Folder of each method's model."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("ESMM", "APEM"):
        made = getattr(mo, name)(funnel=mo.Funnel("click", "conversion"), epochs=1)
        made.fit(table, progress=False).save(folder / name)
    return folder


@pytest.fixture(scope="module", params=["ESMM", "APEM"])
def live(request, saved):
    return LivePredictor(saved / request.param)


@pytest.fixture(scope="module")
def rater():
    random = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "user": random.integers(0, 20, 300),
            "item": random.integers(0, 15, 300),
            "value": random.integers(1, 6, 300),
        }
    ).unique(["user", "item"], maintain_order=True)
    ratings = mo.read_ratings(frame, user="user", item="item", value="value", positive=4)
    return mo.Naive(dim=2, epochs=1).fit(ratings, progress=False)


def test_answers_are_the_predictions_of_the_model(live):
    funnel = live.current
    rows = [{"city": "a", "age": 1}, {"city": "new", "age": None}, {"city": None, "age": -0.5}]
    with TestClient(create_predict_app(live), base_url=HERE) as client:
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
def test_rows_that_do_not_fit_are_told_why(live, rows, words):
    with TestClient(create_predict_app(live), base_url=HERE) as client:
        answer = client.post("/predict", json={"rows": rows})
    assert answer.status_code == 422 and words in answer.json()["error"]


def test_a_rater_predicts_pairs(rater, tmp_path):
    rater.save(tmp_path / "rater")
    live = LivePredictor(tmp_path / "rater")
    with TestClient(create_predict_app(live), base_url=HERE) as client:
        body = {"rows": [{"user": 3, "item": 4}, {"user": 999, "item": 4}]}
        told = client.post("/predict", json=body).json()["predictions"]
        wrong = client.post("/predict", json={"rows": [{"user": 3}]})
    assert [x["value"] for x in told] == rater.predict([3, 999], [4, 4]).tolist()
    assert wrong.status_code == 422 and "user and item" in wrong.json()["error"]


def test_out_of_time_is_said(live):
    app = create_predict_app(live, Limits(budget_s=1e-9))
    with TestClient(app, base_url=HERE) as client:
        answer = client.post("/predict", json={"rows": [{"city": "a", "age": 1}]})
    assert answer.status_code == 503 and "ask again later" in answer.json()["error"]


def test_a_moved_link_brings_the_new_model_and_one_that_cannot_be_used_is_refused(
    saved, tmp_path, caplog
):
    link = tmp_path / "live"

    def move(to: Path) -> None:
        (tmp_path / "aside").symlink_to(to)
        (tmp_path / "aside").replace(link)

    damaged = shutil.copytree(saved / "APEM", tmp_path / "damaged")
    (damaged / "weights.safetensors").write_bytes(b"nonsense")
    other = split(simulate_markov(20, 10, events_per_user=8.0, span_days=30.0, seed=0).log).train
    mo.Popularity().fit(other).save(tmp_path / "popularity")
    move(saved / "ESMM")
    app = create_predict_app(LivePredictor(link), Limits(refresh_s=0.01))
    with TestClient(app, base_url=HERE) as client:

        def method() -> str:
            rows = [{"city": "a", "age": 1}]
            return client.post("/predict", json={"rows": rows}).json()["model"]

        def wait_for(line: str) -> None:
            deadline = time.monotonic() + 60
            while line not in client.get("/metrics").text:
                assert time.monotonic() < deadline
                time.sleep(0.01)

        assert method() == "esmm"
        for refused, folder in enumerate((damaged, tmp_path / "popularity"), 1):
            move(folder)
            wait_for(f'modicum_reloads_total{{outcome="refused"}} {refused}.0')
            assert method() == "esmm"
        move(saved / "APEM")
        wait_for('modicum_reloads_total{outcome="done"} 1.0')
        assert method() == "apem"
        assert 'modicum_model_info{method="apem"} 1.0' in client.get("/metrics").text
    assert "start the server again to serve it" in caplog.text
