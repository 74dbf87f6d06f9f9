"""Memory is estimated before it is taken."""

import pytest
import torch

from modicum.errors import ResourceError
from modicum.methods.sequential.sasrec import SASRec
from modicum.nn.decoder import Decoder, DecoderStack
from modicum.training import memory

from . import recipe

CPU = torch.device("cpu")


def test_what_does_not_fit_is_refused_with_figures():
    with pytest.raises(ResourceError, match=r"a palace needs about 1048576\.0 GiB.*batch_size"):
        memory.require(2**50, CPU, "a palace")


def test_what_cannot_be_told_is_allowed(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: None)
    memory.require(2**50, CPU, "a palace")


def test_the_memory_of_a_machine_is_for_all_its_processes(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    assert memory.fits(1000, CPU) and not memory.fits(1001, CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.fits(250, CPU) and not memory.fits(251, CPU)
    assert memory.fits(1000, torch.device("cuda"))


def test_a_fit_is_refused_before_it_trains(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    with pytest.raises(ResourceError, match="training sasrec"):
        recipe.model().fit(recipe.parts().train, progress=False)


def test_the_estimate_counts_weights_five_times_and_activations():
    network = torch.nn.Linear(10, 6, bias=False)
    assert memory.training_bytes(network, 0) == 5 * 60 * 4
    assert memory.training_bytes(network, 7) == 5 * 60 * 4 + 7 * 16 * 3 * 4
    network.requires_grad_(False)
    assert memory.training_bytes(network, 0) == 60 * 4


def test_layers_that_are_recomputed_do_not_keep_their_activations():
    shape = Decoder(layers=8, width=16, heads=2)
    plain, frugal = DecoderStack(shape), DecoderStack(shape, recompute=True)
    weights = memory.training_bytes(plain, 0)
    kept = memory.training_bytes(plain, 5) - weights
    assert memory.training_bytes(frugal, 5) - weights == kept / 8


def test_a_network_that_does_not_exist_can_be_estimated():
    with torch.device("meta"):
        network = torch.nn.Linear(2**20, 2**20)
    assert memory.training_bytes(network, 1) > 2**42


def test_what_is_not_trained_is_held_once():
    network = torch.nn.Linear(10, 6, bias=False)
    assert memory.training_bytes(network, 0, trained=False) == 60 * 4


@pytest.mark.parametrize("huge", [{"dim": 2**28}, {"length": 2**34}, {"dim": 2**40}], ids=str)
def test_what_does_not_fit_is_refused_before_it_is_built(monkeypatch, huge):
    built, network = [], SASRec.network

    def build(self, catalogue):
        built.append(torch.empty(0).device.type)
        return network(self, catalogue)

    monkeypatch.setattr(SASRec, "network", build)
    with pytest.raises(ResourceError, match="training sasrec needs"):
        recipe.model(**huge).fit(recipe.parts().train, progress=False)
    assert built == ["meta"]


def test_the_estimate_does_not_change_what_is_learnt(monkeypatch):
    train = recipe.parts().train
    with_estimate = recipe.model(epochs=1).fit(train, progress=False)
    monkeypatch.setattr(memory, "require_room", lambda *_: None)
    without = recipe.model(epochs=1).fit(train, progress=False)
    states = [model.fitted_network.state_dict() for model in (with_estimate, without)]
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())


def test_a_network_that_the_meta_device_cannot_hold_is_let_through(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 0)
    memory.require_room(lambda: torch.nn.Linear(int(torch.ones(1)), 1), 1, CPU, "an odd network")
