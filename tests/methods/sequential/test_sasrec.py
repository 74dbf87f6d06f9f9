"""SASRec: blocks in bfloat16 train like those in float32, and only training is in bfloat16."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch

import modicum as mo
from modicum.data.simulate import simulate_markov
from modicum.data.vocabulary import Vocabulary
from modicum.errors import SettingError
from modicum.methods.network import Catalogue
from modicum.training.batches import Batch

ITEMS = 40


def network(**settings):
    torch.manual_seed(0)
    method = mo.SASRec(dim=16, heads=2, dropout=0.0, length=20, head="float32", **settings)
    vocabulary = Vocabulary(pl.Series(range(ITEMS)))
    return method.network(Catalogue(vocabulary, np.ones(ITEMS + 1, dtype=np.int64)))


def batch(length: int = 13) -> Batch:
    items = torch.randint(1, ITEMS + 1, (6, length + 1), generator=torch.Generator().manual_seed(1))
    items[0, 5:] = 0
    return Batch(items[:, :-1], items[:, 1:])


def test_blocks_in_bfloat16_give_nearly_the_same_loss_and_gradients():
    exact, rounded = network().train(), network(precision="bfloat16").train()
    losses = [of.losses(batch())["softmax"] for of in (exact, rounded)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.01)
    assert losses[1].item() != losses[0].item()
    for loss in losses:
        loss.backward()
    one, other = (
        torch.cat([p.grad.flatten() for p in of.parameters() if p.grad is not None])
        for of in (exact, rounded)
    )
    assert one.shape == other.shape and other.dtype == torch.float32
    assert float((other - one).norm() / one.norm()) < 0.02


def test_answers_are_in_float32():
    exact, rounded = network().eval(), network(precision="bfloat16").eval()
    assert torch.equal(exact.encode(batch()), rounded.encode(batch()))


def test_other_precisions_are_refused():
    with pytest.raises(SettingError, match="precision='float16' is not known; did you mean"):
        mo.SASRec(precision="float16").check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dim": 1.5}, "dim=1.5 must be a whole number"),
        ({"dim": "64"}, "dim='64' must be a whole number"),
        ({"layers": True}, "layers=True must be a whole number"),
        ({"heads": None}, "heads=None must be a whole number"),
        ({"hidden": "wide"}, "hidden='wide' must be a whole number or None"),
        ({"dropout": "0.2"}, "dropout='0.2' must be a number"),
        ({"epochs": np.float64(2.5)}, "epochs=2.5 must be a whole number"),
        ({"device": 0}, "device=0 must be text"),
        ({"windows": "al"}, "windows='al' is not known; did you mean 'all'?"),
        ({"windows": 3}, "windows=3 is not known; known: all, latest"),
    ],
    ids=str,
)
def test_settings_of_another_type_are_refused_by_name(wrong, said):
    log = simulate_markov(9, 5, events_per_user=6.0, seed=0).log
    with pytest.raises(SettingError, match=re.escape(said)):
        mo.SASRec(**wrong).fit(log, progress=False)


def test_a_method_made_in_a_function_is_checked_where_its_annotations_can_be_read():
    class Unknown:
        pass

    @dataclass(kw_only=True)
    class Mine(mo.SASRec):
        own: "Unknown | None" = None

    log = simulate_markov(9, 5, events_per_user=6.0, seed=0).log
    small = {"dim": 8, "layers": 1, "epochs": 1}
    assert Mine(**small).fit(log, progress=False).training_log
    with pytest.raises(SettingError, match="dropout='much' must be a number"):
        Mine(**small, dropout="much").fit(log, progress=False)


def test_numbers_of_numpy_are_as_good_as_python_s(tmp_path):
    log = simulate_markov(9, 5, events_per_user=6.0, seed=0).log
    settings = {"dim": np.int64(8), "epochs": np.int32(1), "dropout": np.float32(0.5)}
    model = mo.SASRec(**settings).fit(log, progress=False)
    assert mo.load(model.save(tmp_path)).settings()["dim"] == 8
    whole = mo.SASRec(dim=8.0, epochs=1e0)
    whole.check()
    assert (whole.dim, whole.epochs) == (8, 1) and isinstance(whole.dim, int)
