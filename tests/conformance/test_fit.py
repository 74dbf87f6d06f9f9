"""Fitting: what decides the weights, what reaches them, and what cannot be learnt from."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.errors import DataError, SettingError
from modicum.methods import recommender
from modicum.training.settings import WindowFields

from .conftest import learns, markov_log, with_items


def weights(model) -> dict[str, torch.Tensor]:
    return model.fitted_network.state_dict()


def same(one, other) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_seed_decides_the_weights(method, model, workshop, parts):
    torch.manual_seed(99)  # what was drawn before does not matter
    assert same(model, workshop.make(method).fit(parts.train, progress=False))
    other = workshop.make(method).fit(parts.train, seed=1, progress=False)
    assert same(model, other) == (not learns(model))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, None])
def test_a_seed_that_no_generator_takes_is_refused(method, workshop, parts, seed):
    with pytest.raises(SettingError, match="seed="):
        workshop.make(method).fit(parts.train, seed=seed, progress=False)


def test_fitting_anew_forgets_the_former_fit(method, model, workshop, parts):
    again = workshop.make(method).fit(parts.train, seed=3, progress=False)
    assert same(model, again.fit(parts.train, progress=False))


def test_a_log_is_as_good_as_its_histories(method, workshop, log, parts):
    one, other = (
        workshop.make(method).fit(parts.train if train is None else train, progress=False)
        for train in (EventLog(training_rows(log, parts), source="train"), None)
    )
    assert one.recommend([["i1", "i5"]]).equals(other.recommend([["i1", "i5"]]))


def training_rows(log, parts) -> pl.LazyFrame:
    """Return the rows of the log that lie before the cut."""
    last = int(parts.train.times.max())
    return log.frame.filter(pl.col("time").to_physical() <= last).lazy()


def test_numbers_and_words_are_equally_good_ids(method, workshop):
    numbers = markov_log()
    words = with_items(numbers, pl.col("item").cast(pl.String))
    by_number, by_word = (
        workshop.make(method, **teacher_for(workshop, method, log)).fit(log, progress=False)
        for log in (numbers, words)
    )
    top = by_number.recommend([[3, 7]], k=30)
    assert top["item"].dtype == pl.Int64
    assert by_word.recommend([["3", "7"]], k=30).with_columns(item=top["item"]).equals(top)
    assert by_number.recommend([["3", "7"]], k=30).equals(top)


def teacher_for(workshop, method, log, **settings) -> dict:
    """Return a teacher that knows the items of ``log``, where the method takes one."""
    if "teacher" not in method.__dataclass_fields__:
        return {}
    return {"teacher": workshop.make(type(workshop.teacher), **settings).fit(log, progress=False)}


def test_gradients_reach_every_parameter(method, workshop, parts, monkeypatch):
    silent: list[str] = []

    def probe(network, windows, settings, **_):
        network.train()
        terms = network.losses(next(windows.epoch(0)))
        assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
        torch.stack(list(terms.values())).sum().backward()
        silent.extend(
            name
            for name, parameter in network.named_parameters()
            if parameter.grad is None or not parameter.grad.any()
        )
        return []

    monkeypatch.setattr(recommender, "run_training", probe)
    workshop.make(method).fit(parts.train, progress=False)
    assert silent == []


def test_training_lowers_the_loss(model):
    if learns(model):
        first, last = (sum(model.training_log[at]["losses"].values()) for at in (0, -1))
        assert last < first
    else:
        assert model.training_log == []


def test_it_learns_what_always_follows(method, workshop, model):
    """Users walk in a circle of eight items, starting anywhere."""
    if not learns(model):
        return
    user = np.repeat(np.arange(48), 2 + np.arange(48) // 8)
    place = np.arange(len(user)) - np.searchsorted(user, user)
    log = EventLog(pl.LazyFrame({"user": user, "item": (user + place) % 8}), source="circle")
    longer = {"dim": 16, "epochs": 50, "dropout": 0.0, "length": 6}
    taught = teacher_for(workshop, method, log, **longer)
    circle = workshop.make(method, **longer | taught).fit(log, progress=False)
    top = circle.recommend([[0, 1, 2], [7], [5, 6, 7, 0, 1]], k=1, exclude_seen=False)
    assert top["item"].to_list() == [3, 0, 2]


def test_settings_survive_json(method, model):
    settings = json.loads(json.dumps(model.settings()))
    assert method(**settings).settings() == model.settings()


def test_what_is_loaded_says_where_it_comes_from(model, reloaded):
    assert type(reloaded) is type(model)
    assert reloaded.settings() == model.settings()
    assert reloaded.lineage == model.lineage and model.lineage["seed"] == 0
    assert reloaded.training_log == model.training_log
    assert reloaded.vocabulary.ids.equals(model.vocabulary.ids)


def test_a_single_event_teaches_a_count_or_nothing(method, workshop, model):
    log = EventLog(pl.LazyFrame({"user": [1], "item": ["i1"]}), source="one event")
    alone = workshop.make(method)
    if learns(model):
        with pytest.raises(DataError, match="two training events"):
            alone.fit(log, progress=False)
    else:
        assert alone.fit(log).recommend([[]])["item"].to_list() == ["i1"]


def test_no_events_are_refused(method, workshop):
    empty = EventLog(
        pl.LazyFrame(schema={"user": pl.Int64, "item": pl.String}), source="nothing.csv"
    )
    with pytest.raises(DataError, match=r"nothing\.csv"):
        workshop.make(method).fit(empty, progress=False)


OUT_OF_RANGE = {
    "length": -1,
    "batch_size": 0,
    "epochs": 0,
    "patience": -1,
    "learning_rate": float("nan"),
    "windows": "some",
    "head": "float64",
    "device": "abacus",
    "dropout": 1.5,
    "heads": 3,
    "layers": -1,
    "dim": 0,
    "hidden": 0,
}


def test_settings_out_of_range_are_refused_by_name(method, workshop, parts):
    for name, wrong in OUT_OF_RANGE.items():
        if name in method.__dataclass_fields__:
            with pytest.raises(SettingError, match=name):
                workshop.make(method, **{name: wrong}).fit(parts.train, progress=False)


def test_what_is_no_training_part_is_refused_by_kind(method, workshop, parts):
    with pytest.raises(DataError, match=r"got a Split; pass split\.train"):
        workshop.make(method).fit(parts, progress=False)
    with pytest.raises(DataError, match=r"is a Histories; pass split\.validation"):
        workshop.make(method).fit(parts.train, parts.train, progress=False)


def test_validation_chooses_the_epoch(method, workshop, parts):
    model = workshop.make(method).fit(parts.train, parts.validation, progress=False)
    if isinstance(model, WindowFields):
        values = [record["validation"] for record in model.training_log]
        assert len(values) == model.epochs and all(0 <= value <= 1 for value in values)
        assert np.isclose(model._validation_value(parts.validation, True), max(values))


def test_a_user_with_one_event_is_no_obstacle(method, workshop, parts):
    train = parts.train
    first_only = np.zeros(train.num_events, dtype=bool)
    first_only[train.offsets[:-1]] = True
    first_only |= train.event_users < train.num_users // 2
    model = workshop.make(method).fit(train.keep(first_only), progress=False)
    assert len(model.recommend([["i1"]], k=3)) == 3
    assert isinstance(train, Histories)
