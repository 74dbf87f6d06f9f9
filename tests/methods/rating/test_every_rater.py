"""What every rater does: found by itself, so that a new file is tested by existing."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import modicum as mo
from modicum.errors import BundleError, DataError, NotFittedError, ResourceError, SettingError
from modicum.methods.finding import find_methods
from modicum.methods.rating.base import Rater

from .conftest import RATERS, make
from .simulated import make_world

PAIRS = (["u1", "u2", "u3"], ["i1", "i0", "i4"])


def same(one, other) -> bool:
    a, b = one.module.state_dict(), other.module.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_every_rater_is_a_method_with_a_public_name():
    found = {word: each.load() for word, each in find_methods("rating").items()}
    raters = {word: each for word, each in found.items() if issubclass(each, Rater)}
    assert set(raters.values()) == set(RATERS)
    assert all(getattr(mo, each.__name__) is each for each in RATERS)


def test_it_predicts_a_probability_for_each_pair(model):
    found = model.predict(*PAIRS)
    assert found.shape == (3,) and found.dtype == np.float64
    assert ((found > 0) & (found < 1)).all()


def test_the_seed_decides_the_weights(method, model, ratings):
    torch.manual_seed(99)  # what was drawn before does not matter
    assert same(model, make(method).fit(ratings, progress=False))
    assert not same(model, make(method).fit(ratings, seed=1, progress=False))


def test_it_learns_the_labels(method):
    """Half of the users like half of the items; all is observed, so that no weight matters."""
    world = make_world(16, 12)
    likes = (np.arange(16)[:, None] % 2) == (np.arange(12) % 2)
    whole = type(world)(likes, np.full(likes.shape, 0.9))
    learning = {"epochs": 150, "weight_decay": 0.01, "learning_rate": 0.05, "agreement": 0.4}
    model = make(method, **learning).fit(whole.observe(0), progress=False)
    users, items = np.indices(likes.shape).reshape(2, -1)
    said = model.predict([f"u{user}" for user in users], [f"i{item}" for item in items])
    assert ((said > 0.5) == likes.ravel()).mean() > 0.97


def test_gradients_reach_every_table(method, ratings, monkeypatch):
    silent = []

    def probe(objective, rows, settings, **_):
        terms = objective.losses(next(rows.epoch(0)))
        assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
        torch.stack(list(terms.values())).sum().backward()
        for name, parameter in objective.named_parameters():
            if parameter.grad is None or not parameter.grad.any():
                silent.append(name)
        return []

    monkeypatch.setattr("modicum.methods.rating.base.train", probe)
    make(method, agreement=0.9).fit(ratings, progress=False)
    assert silent == []


def test_a_saved_rater_says_the_same(model, tmp_path):
    loaded = mo.load(model.save(tmp_path / "model"))
    assert type(loaded) is type(model) and loaded.settings() == model.settings()
    np.testing.assert_array_equal(loaded.predict(*PAIRS), model.predict(*PAIRS))
    assert loaded.lineage == model.lineage and loaded.training_log == model.training_log
    assert "chose to give" in (tmp_path / "model" / "card.md").read_text()


def test_settings_survive_json(method, model):
    settings = json.loads(json.dumps(model.settings()))
    assert method(**settings).settings() == model.settings()


def test_users_and_items_not_seen_count_as_average_ones(model):
    nobody, somebody = model.predict(["nobody", "u1"], ["nothing", "nothing"])
    state = model.module.state_dict()
    all_pairs = state["start"] + state["bias"]
    assert nobody == pytest.approx(float(all_pairs.sigmoid()), rel=1e-6)
    shifted = all_pairs + state["user_bias.weight"][model.users.rows(["u1"])[0], 0]
    assert somebody == pytest.approx(float(shifted.sigmoid()), rel=1e-6)


def test_values_can_be_learnt(method, ratings):
    model = make(method, learn="value", epochs=30).fit(ratings, progress=False)
    said = model.predict(ratings.frame["user"], ratings.frame["item"])
    assert np.corrcoef(said, ratings.values)[0, 1] > 0.2


def test_a_module_of_ones_own(method, ratings, tmp_path):
    class Bias(nn.Module):
        def __init__(self, num_users, num_items):
            super().__init__()
            self.items = nn.Embedding(num_items + 1, 1)

        def forward(self, users, items):
            return self.items(items)[:, 0]

    model = make(method, pointwise=Bias).fit(ratings, progress=False)
    assert isinstance(model.module, Bias)
    one, other = model.predict(["u1", "u2"], ["i3", "i3"])
    assert one == other
    with pytest.raises(BundleError, match="state_dict"):
        model.save(tmp_path / "model")


def test_validation_chooses_the_epoch(method, ratings):
    train, held_out = ratings.hold_out(0.2, seed=0)
    model = make(method, epochs=40, patience=3, learning_rate=0.1, weight_decay=0.0)
    model.fit(train, held_out, progress=False)
    values = [epoch["validation"] for epoch in model.training_log]
    assert len(values) < 40 and np.argmax(values) == len(values) - 4


def test_what_is_not_fitted_says_so(method):
    with pytest.raises(NotFittedError, match="fit"):
        make(method).predict(["u1"], ["i1"])


OUT_OF_RANGE = {
    "dim": 0,
    "epochs": 0,
    "drawn": 0,
    "learning_rate": -1.0,
    "batch_size": 0.5,
    "learn": "ranks",
    "propensities": "guess",
    "criterion": "auc",
    "agreement": 0.0,
    "balance": -1.0,
}


def test_settings_out_of_range_are_refused_by_name(method, ratings):
    for name, wrong in OUT_OF_RANGE.items():
        if name in method.__dataclass_fields__:
            with pytest.raises(SettingError, match=name):
                make(method, **{name: wrong}).fit(ratings, progress=False)


def test_what_cannot_be_learnt_from_is_refused(method, ratings):
    with pytest.raises(DataError, match="read_ratings"):
        make(method).fit(ratings.frame, progress=False)
    with pytest.raises(DataError, match="are in training, too"):
        make(method).fit(ratings, ratings, progress=False)


@pytest.mark.parametrize("given", ["ratings.csv", None, pl.DataFrame()], ids=type)
def test_it_is_judged_by_ratings(model, given):
    with pytest.raises(DataError, match=r"judged by ratings, not by a .*mo\.read_ratings"):
        mo.evaluate(model, given)


@pytest.mark.parametrize(("users", "items"), [("u1", "i1"), (1, 1), (["u1"], "i")])
def test_one_id_is_not_taken_for_a_list_of_its_letters(model, users, items):
    with pytest.raises(DataError, match="pass a list of ids"):
        model.predict(users, items)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_built(method, ratings):
    with pytest.raises(ResourceError, match=r"training .* needs"):
        make(method, dim=10**12).fit(ratings, progress=False)
