"""Warm starts of models whose item vectors are made of text, frozen, or a teacher's."""

import polars as pl
import pytest
import torch

import modicum
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.errors import DataError, SettingError
from modicum.methods import recommender

from .test_item_towers import LOG, SMALL, TRAIN, TRAINING, encoder, fit, texts

__all__ = ["encoder"]

NEW = pl.DataFrame({"user": [900, 900, 901, 901], "item": ["n0", "n1", "n1", "n0"]})
NEWER = Histories.from_log(
    EventLog(
        pl.concat(
            [
                LOG.frame.select("user", "item"),
                NEW.cast({"user": LOG.schema["user"]}),
            ]
        ).lazy(),
        "newer",
    )
)
MORE = pl.DataFrame({"item_id": ["n0", "n1"], "text": ["red", None]})


def again(items: str, start, **settings) -> modicum.LLMRec:
    backbone = modicum.Decoder(layers=3, width=16, heads=2)
    settings = SMALL | TRAINING | settings
    model = modicum.LLMRec(backbone=backbone, items=items, **settings)
    return model.fit(NEWER, start=start, progress=False)


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr(recommender, "run_training", lambda *_, **__: [])


@pytest.mark.parametrize("items", ["text", "fused"])
def test_new_items_begin_as_their_text_says(items, monkeypatch):
    old = fit(items)
    with monkeypatch.context() as patched:
        patched.setattr(recommender, "run_training", lambda *_, **__: [])
        grown = again(items, old, texts=MORE)
    added = old.add_items(MORE)
    vectors, known = grown.fitted_network.item_vectors(), old.fitted_network.item_vectors()
    assert torch.allclose(vectors[: len(known)], known, atol=1e-6)
    assert grown.vocabulary.ids[len(known) :].to_list() == ["n0", "n1"]
    of_text = added.fitted_network.item_vectors()[added.vocabulary.rows(["n0"])[0] - 1]
    assert torch.allclose(vectors[len(known)], of_text, atol=1e-6)
    without = known[old.vocabulary.rows(["i3"])[0] - 1]
    if items == "text":
        assert torch.allclose(vectors[len(known) + 1], without, atol=1e-6)
    assert grown.lineage["texts"] == old.lineage["texts"]


def test_what_new_items_need_must_be_there():
    old = fit("text")
    with pytest.raises(SettingError, match=r"texts=\.\.\. of the 2 new items"):
        again("text", old)
    wrong = pl.DataFrame({"item_id": ["n0"], "a": [1.0], "b": [2.0]})
    with pytest.raises(DataError, match="vectors of 2 numbers"):
        again("text", old, texts=wrong)
    table = modicum.SASRec(layers=1, heads=2, **SMALL | TRAINING).fit(TRAIN, progress=False)
    frozen = fit("frozen", table=table)
    with pytest.raises(DataError, match="no vector for 2 of the training items"):
        again("frozen", frozen)
    with pytest.raises(SettingError, match=r"table=.* is of no use with start"):
        again("frozen", frozen, table=table)


def test_a_student_takes_new_items_from_its_teacher(untrained):
    teacher, newer = fit("trained"), fit("trained", NEWER)
    small = {name: value for name, value in (SMALL | TRAINING).items() if name != "dim"}

    def student(taught_by, train, start=None):
        model = modicum.SLMRec(teacher=taught_by, layers=2, blocks=2, **small)
        return model.fit(train, start=start, progress=False)

    old = student(teacher, TRAIN)
    grown = student(newer, NEWER, old)
    vectors, known = grown.fitted_network.item_vectors(), old.fitted_network.item_vectors()
    assert torch.equal(vectors[: len(known)], known)
    rows = newer.vocabulary.rows(["n0", "n1"]) - 1
    rows = rows[[["n0", "n1"].index(x) for x in grown.vocabulary.ids[len(known) :]]]
    assert torch.equal(vectors[len(known) :], newer.fitted_network.item_vectors()[rows])
    read = fit("text"), fit("text", NEWER, texts=pl.concat([texts(), MORE]))
    with pytest.raises(SettingError, match="reads item texts in another way"):
        student(read[1], NEWER, student(read[0], TRAIN))
