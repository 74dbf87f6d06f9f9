"""What comes back from ``recommend``, ordinary or odd as the question may be."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import modicum
from modicum.errors import BundleError, DataError, NotFittedError


def items_of(top: pl.DataFrame, query: object = 0) -> list:
    return top.filter(pl.col("query") == query)["item"].to_list()


def test_lists_are_sorted_and_numbered(model):
    top = model.recommend([["i1", "i2"], ["i3"]], k=4)
    assert top.columns == ["query", "item", "score", "rank"]
    assert top["query"].to_list() == [0] * 4 + [1] * 4
    assert top["rank"].to_list() == [1, 2, 3, 4] * 2
    assert top["item"].dtype == model.vocabulary.ids.dtype
    for query in (0, 1):
        scores = top.filter(pl.col("query") == query)["score"].to_list()
        assert scores == sorted(scores, reverse=True)


def test_seen_items_are_left_out_and_nothing_else_changes(model):
    history = ["i1", "i2", "i3", "i2"]
    everything = model.recommend([history], k=100, exclude_seen=False)
    unseen = model.recommend([history], k=100)
    expected = everything.filter(~pl.col("item").is_in(history))
    by_item = ["item", "score"]
    assert unseen.select(by_item).sort("item").equals(expected.select(by_item).sort("item"))
    assert len(everything) == len(model.vocabulary)


def test_all_events_of_a_long_history_are_excluded(model):
    names = model.vocabulary.ids.to_list()
    top = model.recommend([names[:-2]], k=100)
    assert set(top["item"]) == set(names[-2:])


def test_unknown_items_are_ignored(model):
    plain = model.recommend([["i4", "i2"]])
    assert model.recommend([["nowhere", "i4", "never", "i2", "no"]]).equals(plain)


@pytest.mark.parametrize("history", [[], ["nowhere", "never"], [None]])
def test_a_history_without_known_items_gets_the_popular_ones(model, history):
    top = model.recommend([["i1"], history], k=6)
    counts = dict(zip(model.vocabulary.ids, model._catalogue.counts[1:], strict=True))
    expected = sorted(counts.values(), reverse=True)[:6]
    assert [counts[item] for item in items_of(top, 1)] == expected
    assert top.filter(pl.col("query") == 1)["score"].to_list() == expected


def test_queries_without_events_rank_as_popularity_does(model, parts):
    first = replace(parts.test, targets=parts.test.histories.offsets[:-1])
    assert first.strata["no history"].all()
    floor = modicum.Popularity().fit(parts.train)
    np.testing.assert_array_equal(model.rank(first, 3).ranks, floor.rank(first, 3).ranks)


def test_k_beyond_the_catalogue_gives_all_there_is(model, parts):
    top = model.recommend([["i1"]], k=10**30)
    assert len(top) == len(model.vocabulary) - 1
    assert top["rank"].to_list() == list(range(1, len(top) + 1))
    wide = model.rank(parts.test, 1000).top
    assert (wide[:, len(model.vocabulary) :] == 0).all()


def test_a_history_of_the_whole_catalogue_leaves_nothing(model):
    top = model.recommend([model.vocabulary.ids.to_list(), ["i1"]], k=3)
    assert top["query"].unique().to_list() == [1]


def test_no_queries_give_an_empty_table_of_the_same_columns(model):
    top = model.recommend([])
    assert top.columns == ["query", "item", "score", "rank"]
    assert top.is_empty() and top["item"].dtype == model.vocabulary.ids.dtype


def test_users_get_what_their_histories_get(model, parts):
    train = parts.train
    users = train.user_ids.to_list()[:5]
    names = train.vocabulary.names(train.item_rows).to_list()
    offsets = train.offsets.tolist()
    histories = [names[offsets[at] : offsets[at + 1]] for at in range(5)]
    by_user, by_history = model.recommend(users=users), model.recommend(histories)
    assert by_user.drop("query").equals(by_history.drop("query"))
    assert by_user["query"].unique(maintain_order=True).to_list() == users


def test_questions_that_cannot_be_answered(model, reloaded):
    with pytest.raises(DataError, match="histories"):
        model.recommend()
    with pytest.raises(DataError, match="either"):
        model.recommend([["i1"]], users=[1])
    with pytest.raises(DataError, match="-5"):
        model.recommend(users=[0, -5])
    for k in (0, 2.5, "3", True):
        with pytest.raises(DataError, match=f"k={k!r}"):
            model.recommend([["i1"]], k=k)
    for flat in ([1, 2], [None], 5, [np.array(3)], iter([["i1"]]), {"i1": ["i1"]}, [{"i1": 1}]):
        with pytest.raises(DataError, match="list of items"):
            model.recommend(histories=flat)
    with pytest.raises(DataError, match="list of items"):
        model.recommend(["i1", "i2"])
    with pytest.raises(DataError, match="loaded"):
        reloaded.recommend(users=[0])


def test_an_unfitted_recommender_says_so(method, workshop, parts, tmp_path):
    model = workshop.make(method)
    for question in (
        lambda: model.recommend([["i1"]]),
        lambda: model.rank(parts.test, 5),
        lambda: model.save(tmp_path / "model"),
        lambda: model.vocabulary,
        lambda: model.fitted_network,
    ):
        with pytest.raises(NotFittedError, match="fit"):
            question()
    with pytest.raises(BundleError):
        modicum.load(tmp_path / "model")


def test_a_fit_that_failed_leaves_it_unfitted(method, workshop, parts, monkeypatch):
    model = workshop.make(method).fit(parts.train, progress=False)

    def broken(catalogue):
        raise DataError("cut off")

    monkeypatch.setattr(model, "network", broken)
    with pytest.raises(DataError, match="cut off"):
        model.fit(parts.train, progress=False)
    with pytest.raises(NotFittedError):
        model.recommend([["i1"]])


def test_evaluation_takes_it(model, parts):
    report = modicum.evaluate(model, parts.test, k=(5,))
    ndcg = report.summary.filter(pl.col("metric") == "ndcg@5")
    assert ndcg["mean"].is_between(0, 1).all()
