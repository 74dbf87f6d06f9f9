"""What a warm start makes of domains, ids and shapes."""

import numpy as np
import polars as pl
import pytest

import modicum
from modicum.compression.pruning import prune
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.vocabulary import Vocabulary
from modicum.errors import DataError, SettingError

SMALL = {"dim": 4, "layers": 1, "heads": 1, "epochs": 1, "device": "cpu", "length": 8}


def log(**columns: list) -> EventLog:
    return EventLog(pl.LazyFrame({"user": [1, 1, 1, 2, 2, 2]} | columns), source="events")


def domains(*names: str) -> EventLog:
    return log(item=["a", "b", "a", "b", "c", "a"], domain=[*names] * (6 // len(names)))


def fit(events: EventLog, start=None, **settings) -> modicum.SASRec:
    model = modicum.SASRec(**SMALL | settings)
    return model.fit(events, start=start, progress=False)


def test_items_of_several_domains_keep_their_rows():
    old = fit(domains("beauty", "sports"))
    new = fit(domains("sports", "beauty"), start=old)
    before, after = old.vocabulary.to_frame(), new.vocabulary.to_frame()
    assert after[: len(before)].equals(before) and len(after) > len(before)
    assert new.vocabulary.domain_names == old.vocabulary.domain_names
    counted = domains("sports", "beauty").frame.group_by("item", "domain").len()
    found = new.catalogue.to_frame().filter(pl.col("events") > 0).select("item", "domain", "events")
    wanted = counted.rename({"len": "events"}).sort("item", "domain")
    assert found.sort("item", "domain").cast(dict(wanted.schema)).equals(wanted)
    alone = fit(domains("sports"), start=old)
    assert alone.vocabulary.domain_names == ("beauty", "sports")


def test_what_is_no_continuation_is_refused():
    old = fit(domains("beauty", "sports"))
    with pytest.raises(DataError, match="'books' is not known"):
        fit(domains("beauty", "books"), start=old)
    with pytest.raises(DataError, match="known items have domains, and the new ones have no"):
        fit(log(item=list("ababab")), start=old)
    numbers = fit(log(item=[1, 2, 3, 1, 2, 3]))
    with pytest.raises(DataError, match="'x' is no item id of the known type, such as 1"):
        fit(log(item=["1", "2", "x", "1", "2", "3"]), start=numbers)
    assert fit(log(item=["1", "2", "9", "1", "2", "3"]), start=numbers).vocabulary.ids[-1] == 9


def test_a_shape_is_named():
    old = fit(domains("beauty", "sports"))
    with pytest.raises(SettingError, match="dim=8, where the model to start from has 4"):
        fit(domains("beauty", "sports"), start=old, dim=8)
    slower = fit(domains("beauty", "sports"), start=old, learning_rate=1e-4, dropout=0.0)
    assert slower.learning_rate == 1e-4


def test_a_model_can_begin_with_itself_and_a_failure_leaves_none():
    model = fit(log(item=list("abcabc")))
    before = model.fitted_network.item_vectors().detach().clone()
    model.fit(log(item=list("abcabd")), start=model, progress=False)
    assert model.vocabulary.ids.to_list() == ["a", "b", "c", "d"]
    assert len(before) == 3 and model.lineage["start"]["warm starts before it"] == 0


def test_a_pruned_model_goes_on_in_its_shape():
    train = Histories.from_log(log(item=list("abcabc")))
    narrow = prune(fit(train, dim=8, heads=2), train, keep=0.7, epochs=1, progress=False)
    grown = fit(log(item=list("abcabd")), start=narrow, dim=8, heads=narrow.heads)
    assert grown.hidden == narrow.hidden < 8


def test_a_vocabulary_joins_in_order():
    old = Vocabulary(pl.Series(["b", "a"]), np.array([0, 1]), ("x", "y"))
    new = Vocabulary(pl.Series(["a", "a", "c"]), np.array([0, 1, 1]), ("x", "y"))
    joined = old.join(new).to_frame()
    assert joined.rows() == [("b", "x"), ("a", "y"), ("a", "x"), ("c", "y")]
