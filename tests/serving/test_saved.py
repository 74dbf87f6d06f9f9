"""A model that reads a history for the domain asked for answers as it recommends."""

import sys

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

import modicum as mo
from modicum.data.simulate import simulate_domains
from modicum.errors import BundleError, DataError
from modicum.exported import Exported
from modicum.serving.app import create_app
from modicum.serving.engine import Engine, Query
from modicum.serving.live import Live
from modicum.serving.predicting import LivePredictor
from modicum.serving.saved import Saved
from modicum.serving.shell import Limits
from modicum.serving.source import Source

HERE = "http://127.0.0.1"
ENCODER = {"method": "sasrec", "dim": 8, "layers": 1, "heads": 2}
TINY = {"length": 8, "epochs": 1, "head": "float32", "device": "cpu", "encoder": ENCODER}
METHODS = [
    mo.MACD(**TINY, target="buy"),
    mo.IMVAE(**TINY, target="buy"),
    mo.Merged(**TINY, target="buy"),
    mo.Merged(**TINY, target="buy", history="target"),
    mo.Merged(**TINY, target="buy", history="appended"),
]


@pytest.fixture(scope="module")
def log():
    frame = simulate_domains(60, 12, overlap=0.6, seed=0).log.frame
    bought = pl.when(pl.col("time").dt.second() % 3 > 0).then(pl.lit("buy"))
    frame = frame.with_columns(
        behaviour=bought.otherwise(pl.lit("view")), item=pl.format("i{}", "item")
    )
    roles = {name: name for name in ("user", "item", "time", "domain", "behaviour")}
    return mo.read_events(frame, **roles)


@pytest.fixture(
    scope="module", params=METHODS, ids=lambda x: f"{x.name}-{getattr(x, 'history', '')}"
)
def model(request, log):
    return request.param.fit(log, progress=False)


@pytest.fixture(scope="module")
def histories(log):
    """Of ten users, then of three that the model does not know or can read nothing of."""
    rows = log.frame.sort("user", "time", maintain_order=True)
    pairs = rows.group_by("user", maintain_order=True).agg("domain", "item", "behaviour")
    items = [list(zip(*row, strict=True)) for row in pairs.select("domain", "item").iter_rows()]
    other = items[0][0]
    return (
        [*items[:10], [], ["nothing"], [other]],
        [*pairs["behaviour"].to_list()[:10], [], ["buy"], ["view"]],
    )


def queries(histories, **asked):
    return [Query(items, behaviours=done, **asked) for items, done in zip(*histories, strict=True)]


@pytest.mark.parametrize("domain", ["d0", "d1"])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_it_recommends_what_the_model_does_and_for_the_same_events(
    model, histories, domain, exclude_seen
):
    items, behaviours = histories
    top = model.recommend(
        items,
        behaviours=behaviours,
        domain=domain,
        k=4,
        exclude_seen=exclude_seen,
        explain=True,
    )
    asked = queries(histories, domain=domain, k=4, exclude_seen=exclude_seen, explain=True)
    for at, answer in enumerate(Engine(Saved(model)).answer(asked)):
        expected = top.filter(query=at)
        assert answer.items == expected["item"].to_list()
        assert set(answer.domains) == {domain}
        np.testing.assert_allclose(answer.scores, expected["score"], rtol=1e-4, atol=1e-5)
        if answer.source == "popularity":
            assert not any(answer.because)
            continue
        for because, other in zip(answer.because, expected["because"], strict=True):
            assert len(because) == len(other)
            shares = {(x["domain"], x["event"], round(x["share"], 3)) for x in other}
            assert {(x.domain, x.event, round(x.share, 3)) for x in because} == shares


def test_a_batch_of_both_domains_is_its_rows(model, histories):
    engine = Engine(Saved(model))
    mixed = [
        x
        for pair in zip(
            queries(histories, domain="d0"), queries(histories, domain="d1"), strict=True
        )
        for x in pair
    ]
    for query, answer in zip(mixed, engine.answer(mixed), strict=True):
        (alone,) = engine.answer([query])
        assert alone.items == answer.items and alone.source == answer.source
        np.testing.assert_allclose(alone.scores, answer.scores, rtol=1e-4, atol=1e-6)


def test_popularity_answers_where_nothing_is_read_and_says_why(log, histories):
    model = mo.Merged(**TINY, target="buy", history="target").fit(log, progress=False)
    *_, nothing, strange, viewed = Engine(Saved(model)).answer(queries(histories, domain="d0"))
    assert [x.source for x in (nothing, strange, viewed)] == ["popularity"] * 3
    assert [x.reason for x in (nothing, strange, viewed)] == [
        "no known items",
        "no known items",
        "nothing to read",
    ]
    assert [x.unknown for x in (nothing, strange, viewed)] == [0, 1, 0]


def test_a_domain_must_be_asked_for_where_it_decides_what_is_read(model):
    engine = Engine(Saved(model))
    if model.reads_all:
        assert len(engine.answer([Query([])])[0].items) == 10
    else:
        with pytest.raises(DataError, match="name it, one of d0, d1"):
            engine.prepare(Query([]))
    with pytest.raises(DataError, match="one behaviour for each item"):
        engine.prepare(Query(["nothing"], domain="d0", behaviours=("buy", "buy")))


def test_over_http_events_and_their_behaviours_are_read(log, store, tmp_path):
    model = mo.MACD(**TINY, target="buy").fit(log, progress=False)
    past = [("d0", "i1", "buy"), ("d1", "i14", "view"), ("d0", "i3", "view")]
    pairs = [(domain, item) for domain, item, _ in past]
    top = model.recommend([pairs], behaviours=[[done for *_, done in past]], domain="d1", k=5)
    fields = ("domain", "item", "behaviour")
    sent = [dict(zip(fields, row, strict=True)) for row in past]
    events = [x | {"id": str(n), "user": "ann", "time": n} for n, x in enumerate(sent)]
    with Live(Source(model.save(tmp_path / "model")), store) as live:
        assert live.current.method == "macd"
        with TestClient(create_app(live, Limits(budget_s=60)), base_url=HERE) as client:
            assert client.post("/events", json={"events": events}).status_code == 201
            for whom in ({"user": "ann"}, {"history": sent}):
                told = client.post("/recommend", json={**whom, "domain": "d1", "k": 5})
                assert [x["item"] for x in told.json()["items"]] == top["item"].to_list()
                assert told.json()["source"] == "model"
            asked = client.get("/domains").json()
            assert asked == {"domains": ["d0", "d1"], "required": True}
            refused = client.post("/recommend", json={"user": "ann"})
            assert refused.status_code == 422 and "d0, d1" in refused.json()["error"]


def test_a_saved_model_is_exported_unless_its_reading_depends_on_what_is_asked(log, tmp_path):
    plain = mo.Merged(**TINY).fit(log, progress=False).save(tmp_path / "plain")
    assert isinstance(Source(plain).read()[0], Exported)
    by_domain = mo.Merged(**TINY, history="target").fit(log, progress=False)
    assert isinstance(Source(by_domain.save(tmp_path / "by domain")).read()[0], Saved)
    counted = {"encoder": "transitions", "history": "target"}
    uncommon = mo.Merged(**{**TINY, **counted}).fit(log, progress=False).save(tmp_path / "counted")
    with pytest.raises(BundleError, match="no inner product"):
        Source(uncommon).read()
    (plain / "config.json").write_text("{}")
    with pytest.raises(BundleError, match="damaged"):
        Source(plain).read()


@pytest.mark.parametrize("domain", [0, 1])
def test_a_model_whose_numbers_are_not_finite_is_not_taken_up(log, store, tmp_path, domain):
    model = mo.MACD(shared=False, **TINY).fit(log, progress=False)
    good = model.save(tmp_path / "good")
    for weight in model.fitted_network.encoders[domain].blocks.parameters():
        weight.data.fill_(float("nan"))
    bad = model.save(tmp_path / "bad")
    with pytest.raises(BundleError, match="not finite"):
        Live(Source(bad), store)
    link = tmp_path / "current"
    link.symlink_to(good)
    with Live(Source(link), store) as live:
        first = live.current.version
        link.unlink()
        link.symlink_to(bad)
        with pytest.raises(BundleError, match="not finite"):
            live.refresh()
        assert live.current.version == first


def test_where_there_is_no_torch_the_model_says_so(log, tmp_path, monkeypatch):
    folder = mo.MACD(**TINY).fit(log, progress=False).save(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "torch", None)
    for load in (Source(folder).read, lambda: LivePredictor(folder)):
        with pytest.raises(BundleError, match="torch, which is not installed here"):
            load()
