"""A warm start: what an older model knows is kept, and new items are learnt."""

import dataclasses

import numpy as np
import polars as pl
import pytest

import modicum
from modicum.data.log import EventLog
from modicum.errors import SettingError
from modicum.methods import recommender
from modicum.methods.starting import FREE
from modicum.training.settings import WindowFields

from .conftest import learns
from .test_fit import same, teacher_for, training_rows

NEW = [f"new{n}" for n in range(6)]
ASKED = [["i1", "i5", "i2"], ["i7"], ["i3", "i3", "i20", "i4"]]


@pytest.fixture(scope="module")
def newer(log, parts) -> EventLog:
    """The training events, and users who walk in a circle of six new items."""
    old = training_rows(log, parts).collect()
    users, steps = np.repeat(np.arange(24), 7), np.tile(np.arange(7), 24)
    new = pl.DataFrame(
        {"user": 1000 + users, "item": [NEW[at] for at in (users + steps) % len(NEW)]}
    ).with_columns(time=old["time"].max() + pl.duration(hours=1 + pl.Series(steps)))
    joined = pl.concat([old, new.cast(dict(old.schema))])
    return EventLog(joined.lazy(), source="newer")


def warm(workshop, method, model, newer, log, **settings):
    """Return a recommender of the class, and the arguments of a warm start."""
    taught = teacher_for(workshop, method, newer)
    return workshop.make(method, **settings | taught), {"start": model, "progress": False}


def test_before_it_is_trained_it_ranks_old_items_as_before(
    method, model, workshop, newer, log, monkeypatch
):
    if not learns(model):
        with pytest.raises(SettingError, match=r"only counts.*fit it anew"):
            workshop.make(method).fit(newer, start=model, progress=False)
        return
    grown, how = warm(workshop, method, model, newer, log)
    monkeypatch.setattr(recommender, "run_training", lambda *_, **__: [])
    grown.fit(newer, **how)
    known = len(model.vocabulary)
    assert grown.vocabulary.ids[:known].equals(model.vocabulary.ids)
    assert sorted(grown.vocabulary.ids[known:]) == NEW
    asked = {"k": known + len(NEW), "exclude_seen": False}
    before = model.recommend(ASKED, **asked).drop("rank")
    after = grown.recommend(ASKED, **asked).filter(~pl.col("item").is_in(NEW)).drop("rank")
    assert before.drop("score").equals(after.drop("score"))
    assert np.allclose(before["score"], after["score"], atol=1e-5)
    popular = grown.recommend([[]], k=1)["score"].item()
    assert popular == newer.frame["item"].value_counts()["count"].max()


def test_it_learns_the_new_items(method, model, workshop, newer, log, tmp_path):
    if not learns(model):
        return
    grown, how = warm(workshop, method, model, newer, log, epochs=15)
    grown.fit(newer, **how)
    asked = [["new0", "new1", "new2"], ["new4", "new5"]]
    top = grown.recommend(asked, k=len(NEW), exclude_seen=False)
    following = pl.DataFrame({"query": [0, 1], "item": ["new3", "new0"]})
    assert len(top.join(following, on=["query", "item"])) == 2
    assert set(top.filter(rank=1)["item"]) <= set(NEW)
    lineage = grown.lineage["start"]
    assert lineage["data"] == model.lineage["data"] and lineage["warm starts before it"] == 0
    loaded = modicum.load(grown.save(tmp_path))
    assert loaded.recommend(asked).drop("score").equals(grown.recommend(asked).drop("score"))
    assert "warm starts before it: 0" in (tmp_path / "card.md").read_text()


def test_the_seed_and_the_older_model_decide_the_weights(
    method, model, reloaded, workshop, newer, log, tmp_path
):
    if not learns(model):
        return
    one, how = warm(workshop, method, model, newer, log)
    one.fit(newer, **how)
    folder = model.save(tmp_path)
    other, _ = warm(workshop, method, model, newer, log)
    assert same(one, other.fit(newer, start=folder, progress=False))
    cold, _ = warm(workshop, method, model, newer, log)
    assert not same(one, cold.fit(newer, progress=False))
    again, _ = warm(workshop, method, model, newer, log)
    assert (
        again.fit(newer, start=one, progress=False).lineage["start"]["warm starts before it"] == 1
    )


OTHER = {int: lambda x: x + 1, float: lambda x: x / 2 + 0.01, bool: lambda x: not x}


def test_a_setting_that_decides_what_is_computed_must_agree(method, model, workshop, newer):
    """Of each setting that can be another number: it is named, or it only says how to train."""
    if not learns(model):
        return
    for field in dataclasses.fields(method):
        value = getattr(workshop.make(method), field.name)
        if type(value) not in OTHER or field.name in FREE or field.metadata.get("derived"):
            continue
        other = workshop.make(method, **{field.name: OTHER[type(value)](value)})
        with pytest.raises(SettingError, match=rf"\b{field.name}="):
            other.fit(newer, start=model, progress=False)


def test_another_method_is_no_start(method, model, workshop, newer):
    if isinstance(model, WindowFields):
        with pytest.raises(SettingError, match=f"is no {method.__name__}"):
            workshop.make(method).fit(newer, start=modicum.Popularity().fit(newer), progress=False)
