"""Merged: what it reads and learns from, and that the other domain's events are of use."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import torch

import modicum as mo
from modicum.compression.onnx import export, load_onnx
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.split import split
from modicum.errors import DataError, SettingError
from modicum.methods.fitting import Fitting

from .simulated import BEHAVED, COLD, LOG, PARTS, SMALL, TRAINING, ndcg


def merged(encoder="sasrec", history="merged", **settings) -> mo.Merged:
    return mo.Merged(
        encoder=SMALL.get(encoder, encoder), history=history, **TRAINING | {"epochs": 2} | settings
    )


@pytest.mark.parametrize("encoder", SMALL)
def test_events_of_the_other_domain_help_users_who_are_new(encoder):
    cold = PARTS.test.take(COLD)
    assert len(cold) >= 40
    floor = ndcg(mo.Popularity().fit(PARTS.train), cold)
    found = {
        history: ndcg(merged(encoder, history, epochs=15).fit(PARTS.train, progress=False), cold)
        for history in ("target", "appended")
    }
    assert found["target"] == pytest.approx(floor)  # nothing to read: the popular items
    assert found["appended"] > floor + 0.1


@pytest.mark.parametrize("encoder", SMALL)
@pytest.mark.parametrize("history", ["target", "appended"])
def test_many_queries_rank_as_each_alone(encoder, history):
    model = merged(encoder, history).fit(PARTS.train, progress=False)
    queries = PARTS.test.take(slice(0, 40))
    together = model.rank(queries, 5).ranks
    alone = [model.rank(queries.take(np.array([at])), 5).ranks[0] for at in range(len(queries))]
    np.testing.assert_allclose(together, alone)


def test_a_target_history_is_that_of_the_domain_alone():
    model = merged(history="target").fit(PARTS.train, progress=False)
    own = [("d1", 3), ("d1", 5)]
    mixed = [("d0", 1), ("d1", 3), ("d0", 2), ("d1", 5), ("d0", 7)]
    top = model.recommend([own, mixed], k=30, domain="d1")
    first, second = (top.filter(pl.col("query") == query).drop("query") for query in (0, 1))
    assert first.equals(second)
    away = model.recommend([mixed], k=30, domain="d0")
    assert {1, 2, 7}.isdisjoint(away["item"])  # what is not asked for is still seen


def test_appended_events_stand_before_the_others():
    model = merged(history="appended").fit(PARTS.train, progress=False)
    plain = merged(history="merged").fit(PARTS.train, progress=False)
    plain._network = model._network
    mixed = [("d1", 3), ("d0", 1), ("d1", 5), ("d0", 2)]
    sorted_by_hand = [("d0", 1), ("d0", 2), ("d1", 3), ("d1", 5)]
    appended = model.recommend([mixed], k=10, domain="d1")
    assert appended.equals(plain.recommend([sorted_by_hand], k=10, domain="d1"))


def test_merged_of_one_domain_is_its_encoder():
    log = EventLog(LOG.scan.filter(pl.col("domain") == "d0").drop("domain"), "one")
    parts = split(log)
    fields = {k: v for k, v in SMALL["sasrec"].items() if k != "method"}
    alone = mo.SASRec(**fields, **TRAINING, epochs=2).fit(parts.train, progress=False)
    for history in ("merged", "target"):
        model = merged(history=history).fit(parts.train, progress=False)
        np.testing.assert_allclose(model.rank(parts.test, 5).ranks, alone.rank(parts.test, 5).ranks)


def batches(model: mo.Merged, train):
    windows = model.windows_of(train, Fitting(None, 0, None, False, True))
    return [windows.batch(np.array([at])) for at in range(windows.num_windows)]


def pairs(found) -> list[tuple[tuple[int, ...], int]]:
    """(input, target) of every position that is learnt from."""
    return sorted(
        (tuple(batch.items[0, : at + 1].tolist()), int(target))
        for batch in found
        for at, target in enumerate(batch.targets[0].tolist())
        if target
    )


def test_training_pairs_of_each_history_by_hand():
    events = [(1, "x", 1), (1, "y", 1), (1, "x", 2), (1, "y", 2), (1, "y", 3)]
    frame = pl.DataFrame(events, schema=["user", "domain", "item"], orient="row")
    histories = Histories.from_log(
        EventLog(frame.lazy(), "five")
    )  # rows: x1 1, y1 2, x2 3, y2 4, y3 5
    assert histories.item_rows.tolist() == [1, 2, 3, 4, 5]
    assert pairs(batches(merged(), histories)) == [
        ((1,), 2),
        ((1, 2), 3),
        ((1, 2, 3), 4),
        ((1, 2, 3, 4), 5),
    ]
    assert pairs(batches(merged(history="target"), histories)) == [
        ((1,), 3),
        ((2,), 4),
        ((2, 4), 5),
    ]
    assert pairs(batches(merged(history="appended"), histories)) == [
        ((1,), 2),
        ((1, 3, 2), 4),
        ((1, 3, 2, 4), 5),
        ((2, 1), 3),
    ]


@pytest.mark.parametrize("encoder", SMALL)
@pytest.mark.parametrize("history", ["merged", "target", "appended"])
def test_only_the_target_behaviour_is_learnt_and_counted(encoder, history, tmp_path):
    parts = split(BEHAVED, target_domain="d1", target_behaviour="buy", test=0.3)
    model = merged(encoder, history, target="buy", epochs=1)
    model.fit(parts.train, parts.validation, progress=False)
    bought = parts.train.where(behaviour="buy")
    counts = np.bincount(parts.train.item_rows[bought], minlength=len(parts.train.vocabulary) + 1)
    assert np.array_equal(model.catalogue.counts, counts)
    assert len(pairs(batches(model, parts.train))) <= bought.sum()
    assert np.isfinite(model.training_log[0]["losses"]["softmax"])
    loaded = mo.load(model.save(tmp_path / "model"))
    queries = parts.test.take(slice(0, 30))
    np.testing.assert_allclose(loaded.rank(queries, 5).ranks, model.rank(queries, 5).ranks)
    items = [[("d1", 1), ("d1", 2), ("d1", 3)]]
    named = model.recommend(items, behaviours=[["view", "buy", "view"]], k=30, domain="d1")
    alone = model.recommend([[("d1", 2)]], k=30, domain="d1", exclude_seen=False)
    assert set(named["item"]) == set(alone["item"]) - {2}  # what was only viewed is still to be had
    if history == "target":
        kept = alone.filter(pl.col("item") != 2)
        assert named["item"].to_list() == kept["item"].to_list()
        np.testing.assert_allclose(named["score"], kept["score"], rtol=1e-5)
    with pytest.raises(DataError, match="one behaviour for each item"):
        model.recommend(items, behaviours=[["view"]], domain="d1")


def test_popularity_counts_the_target_behaviour():
    parts = split(BEHAVED, target_domain="d1", target_behaviour="buy", test=0.3)
    model = merged("popularity", target="buy").fit(parts.train, progress=False)
    bought = parts.train.keep(parts.train.where(behaviour="buy"))
    by_hand = mo.Popularity().fit(bought, progress=False)
    np.testing.assert_allclose(model.rank(parts.test, 5).ranks, by_hand.rank(parts.test, 5).ranks)
    with pytest.raises(SettingError, match="only counts"):
        merged("popularity", "appended").fit(parts.train, progress=False)


def test_the_encoder_may_be_a_word_a_table_or_a_recommender():
    settings = [
        mo.Merged(encoder=given).settings()["encoder"]
        for given in ("gru4rec", {"method": "gru4rec"}, mo.GRU4Rec())
    ]
    assert settings[0] == settings[1] == settings[2]
    assert settings[0]["method"] == "gru4rec" and "epochs" not in settings[0]
    assert mo.Merged(encoder=mo.SASRec(dim=32, epochs=7), epochs=7).check() is None
    again = mo.Merged(**mo.Merged(encoder=mo.SASRec(dim=32)).settings())
    assert again.settings()["encoder"]["dim"] == 32
    assert dataclasses.replace(again, epochs=3).settings()["encoder"]["dim"] == 32


def test_numbers_of_numpy_in_an_encoder_are_saved_as_plain_ones():
    model = mo.Merged(encoder={"method": "sasrec", "dim": np.int64(32)})
    assert json.loads(json.dumps(model.settings()))["encoder"]["dim"] == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "sasrek"}, "did you mean 'sasrec'"),
        ({"encoder": {"method": "sasrec", "dimm": 3}}, "did you mean 'dim'"),
        ({"encoder": {"dim": 3}}, "does not say its 'method'"),
        ({"encoder": "slmrec"}, "more than its network"),
        ({"encoder": mo.Merged()}, "more than its network"),
        ({"encoder": "item_towers"}, "is no recommender"),
        ({"encoder": "ips"}, "is no recommender"),
        ({"encoder": "nope"}, "; known: bert4rec, gru4rec, popularity, sasrec, transitions"),
        ({"encoder": None}, "encoder=None is a NoneType"),
        ({"encoder": ["sasrec"]}, "is a list"),
        ({"encoder": mo.SASRec(epochs=7)}, "epochs=7 of the encoder does not count"),
        ({"history": "mergd"}, "did you mean 'merged'"),
        ({"encoder": {"method": "sasrec", "dim": 0}}, "dim=0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(SettingError, match=message):
        mo.Merged(**settings).check()


def test_questions_that_need_a_domain():
    model = merged(history="target").fit(PARTS.train, progress=False)
    with pytest.raises(DataError, match=r"name it with domain=\.\.\., one of d0, d1"):
        model.recommend([[("d1", 3)]])
    with pytest.raises(DataError, match="behaviours belong to histories"):
        model.recommend(users=[1], behaviours=[["buy"]], domain="d1")
    top = model.recommend(users=PARTS.train.user_ids.to_list()[:3], domain="d1", k=4)
    assert top["domain"].unique().to_list() == ["d1"] and len(top) == 12


def test_every_state_of_an_encoder_is_at_its_event():
    for name, table in SMALL.items():
        model = merged(name).fit(PARTS.train, progress=False)
        assert model.settings()["encoder"]["method"] == table["method"]
        batch = batches(model, PARTS.train)[0]
        states = model.fitted_network.states(batch)
        assert states.shape == (*batch.items.shape, 16)
        assert torch.isfinite(states).all()


def test_pruned_settings_are_those_of_the_encoder():
    model = merged(history="target")
    narrow = mo.Merged(**model.narrowed({"hidden": 4}))
    assert narrow.settings()["encoder"]["hidden"] == 4
    assert narrow.history == "target" and narrow.length == model.length


def test_only_a_reader_of_whole_histories_is_exported(tmp_path):
    with pytest.raises(SettingError, match="depends on the domain"):
        export(merged(history="target").fit(PARTS.train, progress=False), tmp_path / "target")
    model = merged().fit(PARTS.train, progress=False)
    exported = load_onnx(export(model, tmp_path / "merged"))
    asked = [[("d0", 1), ("d1", 4)], []]
    before, after = (x.recommend(asked, domain="d1", k=5) for x in (model, exported))
    assert before.drop("score").equals(after.drop("score"))
