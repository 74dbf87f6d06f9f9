"""The engine recommends what the model recommends, in batches as alone."""

import numpy as np
import polars as pl
import pytest

import modicum as mo
from modicum import exported
from modicum.compression.onnx import export
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_markov
from modicum.errors import DataError
from modicum.serving import engine as engines
from modicum.serving.engine import Engine, Query

HISTORIES = [["i1", "i2", "i3"], ["i9"], [f"i{n}" for n in range(12)], ["i4", "not an item", "i5"]]


@pytest.fixture(scope="module")
def engine(model) -> Engine:
    return Engine(model)


@pytest.fixture(scope="module")
def merged():
    """A model of two domains that share the ids i0 to i9."""
    log = simulate_markov(60, 40, events_per_user=9, seed=1).log
    number = pl.col("item").cast(pl.Int64)
    events = log.scan.with_columns(
        item=pl.format("i{}", number % 30),
        domain=pl.when(number < 30).then(pl.lit("books")).otherwise(pl.lit("games")),
    )
    shape = {"dim": 8, "layers": 1, "heads": 2, "length": 6, "epochs": 2}
    return mo.SASRec(**shape).fit(EventLog(events, source="simulated"), progress=False)


@pytest.fixture(scope="module")
def of_domains(merged, tmp_path_factory) -> Engine:
    return Engine(exported.read(export(merged, tmp_path_factory.mktemp("export"))))


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_it_recommends_what_the_model_does(engine, fitted, exclude_seen):
    top = fitted.recommend(HISTORIES, k=5, exclude_seen=exclude_seen)
    answers = engine.answer([Query(x, k=5, exclude_seen=exclude_seen) for x in HISTORIES])
    for at, answer in enumerate(answers):
        expected = top.filter(query=at)
        assert answer.items == expected["item"].to_list()
        np.testing.assert_allclose(answer.scores, expected["score"], rtol=1e-4, atol=1e-5)
        assert (answer.source, answer.reason) == ("model", None)


def test_a_batch_is_its_rows(engine):
    asked = [Query(x, k=k) for x, k in zip([[], *HISTORIES], (3, 7, 1, 30, 5), strict=True)]
    together = engine.answer([engine.prepare(x) for x in asked])
    for query, answer in zip(asked, together, strict=True):
        (alone,) = engine.answer([query])
        assert alone.items == answer.items and alone.source == answer.source
        np.testing.assert_allclose(alone.scores, answer.scores, rtol=1e-5)


def test_without_known_items_popularity_answers_and_says_so(engine, model, fitted):
    nothing, strangers = engine.answer([Query([], k=3), Query(["x", "y"], k=3)])
    most = model.vocabulary.names(1 + np.argsort(-model.counts[1:], kind="stable")[:3]).to_list()
    assert nothing.items == strangers.items == most == fitted.recommend([[]], k=3)["item"].to_list()
    assert nothing.source == strangers.source == "popularity"
    assert nothing.reason == strangers.reason == "no known items"
    assert (nothing.unknown, strangers.unknown) == (0, 2)
    late = engine.popular(Query(["i1"], k=3, exclude_seen=False))
    assert late.items == most and late.reason == "over budget"


def test_what_is_excluded_does_not_come(engine):
    (answer,) = engine.answer([Query(["i1"], k=30, excluded=["i2", "unheard of"])])
    assert len(answer.items) == 28 and not {"i1", "i2"} & set(answer.items)
    (everything,) = engine.answer([Query(["i1"], k=99, exclude_seen=False)])
    assert len(set(everything.items)) == 30
    every = [f"i{n}" for n in range(30)]
    for query in (Query(["i1"], excluded=every), Query([], excluded=every)):
        assert engine.answer([query])[0].items == []
    (rest,) = engine.answer([Query(["i1"], excluded=every[2:], k=3, exclude_seen=False)])
    assert sorted(rest.items) == ["i0", "i1"]


def test_barred_items_come_from_nobody(model):
    barred = model.vocabulary.rows(["i2", "i7"])
    engine = Engine(model, barred=barred)
    for query in (Query(["i1"], k=30, exclude_seen=False), Query([], k=30)):
        (answer,) = engine.answer([query])
        assert len(answer.items) == 28 and not {"i2", "i7"} & set(answer.items)
    (nothing,) = Engine(model, barred=np.arange(1, 31)).answer([Query(["i1"])])
    assert nothing.items == []
    (plain,) = Engine(model).answer([Query(["i2"], k=28, excluded=["i2", "i7"])])
    (without,) = engine.answer([Query(["i2"], k=28)])
    assert without.items == plain.items, "a barred item still counts as read"


@pytest.mark.parametrize("domain", [None, "books", "games"])
def test_domains_are_ranked_as_the_model_ranks_them(of_domains, merged, domain):
    histories = [[("books", "i1"), ("games", "i2")], ["i15", "i20"], [("games", "i1")], []]
    top = merged.recommend(histories, k=6, domain=domain)
    answers = of_domains.answer([Query(x, k=6, domain=domain) for x in histories])
    for at, answer in enumerate(answers):
        expected = top.filter(query=at)
        assert answer.items == expected["item"].to_list()
        assert answer.domains == expected["domain"].to_list()
        assert domain is None or set(answer.domains) == {domain}
    assert [answer.source for answer in answers] == ["model"] * 3 + ["popularity"]


def test_queries_of_several_domains_share_a_batch(of_domains):
    asked = [Query(["i15"], k=4, domain=name) for name in ("books", None, "games")]
    for query, answer in zip(asked, of_domains.answer(asked), strict=True):
        assert of_domains.answer([query])[0].items == answer.items


def test_what_cannot_be_asked_fails_before_it_is_in_a_batch(of_domains, engine):
    for query in (
        Query(["i1"]),
        Query([("films", "i1")]),
        Query(["i15"], excluded=["i1"]),
        Query(["i15"], domain="films"),
    ):
        with pytest.raises(DataError):
            of_domains.prepare(query)
    with pytest.raises(DataError, match="domain"):
        engine.prepare(Query(["i1"], domain="books"))


def test_a_stored_event_that_cannot_be_told_counts_as_unknown(of_domains):
    history = ["i1", "i15", ("films", "i3"), ("books", "i2"), ("books", "none"), None]
    (answer,) = of_domains.answer([Query(history, stored=True)])
    (clean,) = of_domains.answer([Query(["i15", ("books", "i2")])])
    assert clean.source == answer.source == "model"
    assert (answer.items, answer.unknown) == (clean.items, clean.unknown + 4)
    (nothing,) = of_domains.answer([Query(["i1", ("films", "i3")], stored=True)])
    assert (nothing.source, nothing.unknown) == ("popularity", 2)


def test_reasons_are_those_of_the_model(engine, fitted, of_domains, merged):
    two = [[("books", "i1"), ("games", "i2"), "i15"], ["i20"]]
    for server, model, histories, domain in (
        (engine, fitted, HISTORIES, None),
        (of_domains, merged, two, None),
        (of_domains, merged, two, "games"),
    ):
        top = model.recommend(histories, k=3, domain=domain, explain=True)
        asked = [Query(x, k=3, domain=domain, explain=True) for x in histories]
        answers = server.answer(asked)
        for because, expected in zip(
            [x for answer in answers for x in answer.because], top["because"], strict=True
        ):
            assert [x.event for x in because] == [x["event"] for x in expected]
            assert [x.domain for x in because] == [x.get("domain") for x in expected]
            np.testing.assert_allclose(
                [x.share for x in because], [x["share"] for x in expected], atol=1e-3
            )


def test_popularity_has_no_reasons_and_nobody_gets_them_unasked(engine):
    cold, plain = engine.answer([Query([], k=2, explain=True), Query(["i1"], k=2)])
    assert cold.because == [[], []] and plain.because == []


def test_recall_is_measured_and_told(model, monkeypatch):
    pytest.importorskip("faiss", reason="approximate search needs the extra [serve]")
    monkeypatch.setattr(engines, "INVERTED_FROM", 1)
    told = Engine(model, recall=0.9, histories=[["i1", "i2"], ["nothing"]])
    assert "30 items" in told.description
    assert Engine(model).description.startswith("exact")
