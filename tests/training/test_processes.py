"""Two processes train as one does with the same global batch."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import modicum
from modicum.errors import DataError, SettingError
from modicum.nn.decoder import Decoder, DecoderStack
from modicum.training import memory, sharing
from modicum.training.processes import Processes

from . import recipe
from .conftest import windows


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def two(*task: str | Path) -> list[int]:
    """Run a task of the recipe in two processes, and return what they end with."""
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    both = [
        subprocess.Popen(
            [sys.executable, recipe.__file__, *task],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    return [process.wait(timeout=180) for process in both]


def assert_same_outcome(one, two) -> None:
    for record, other in zip(one.training_log, two.training_log, strict=True):
        assert record["targets"] == other["targets"]
        assert record["losses"] == pytest.approx(other["losses"], abs=1e-5)
        assert record["validation"] == pytest.approx(other["validation"], abs=1e-5)
    weights = two.fitted_network.state_dict()
    for name, tensor in one.fitted_network.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-4, rtol=0)


def test_two_processes_end_where_one_does(tmp_path):
    torch.set_num_threads(1)
    data = recipe.parts()
    alone = recipe.model(**recipe.SHARED)
    alone.fit(data.train, data.validation, progress=False)
    assert two("share", tmp_path) == [0, 0]
    assert_same_outcome(alone, modicum.load(tmp_path))


@pytest.mark.parametrize("tune", ["all", "lora"])
def test_layers_that_are_shared_out_learn_as_whole_ones_do(tmp_path, tune):
    torch.set_num_threads(1)
    data = recipe.parts()
    alone = recipe.teacher(tune=tune).fit(data.train, data.validation, progress=False)
    assert two("teach", tmp_path, tune) == [0, 0]
    assert_same_outcome(alone, modicum.load(tmp_path / "model"))


def test_what_processes_with_shared_layers_began_one_or_two_of_them_end(tmp_path):
    torch.set_num_threads(1)
    data = recipe.parts()
    alone = recipe.teacher(tune="all").fit(data.train, data.validation, progress=False)
    assert two("teach and stop", tmp_path, "all") == [0, 0]
    assert not (tmp_path / "model").exists()
    begun = shutil.copytree(tmp_path / "checkpoint", tmp_path / "copy")
    one = recipe.teacher(tune="all")
    one.fit(data.train, data.validation, folder=begun, progress=False)
    assert_same_outcome(alone, one)
    assert two("teach", tmp_path, "all") == [0, 0]
    assert_same_outcome(alone, modicum.load(tmp_path / "model"))


def test_a_prompt_is_not_read_by_layers_that_are_shared_out():
    network = torch.nn.ModuleDict({"decoder": DecoderStack(Decoder(layers=2, width=4, heads=1))})
    network.register_buffer("prompt", torch.zeros(3, 4))
    with pytest.raises(SettingError, match="leave the prompt out"):
        sharing.Shared(network, sharing.layers_of(network), torch.device("cpu"))


def test_a_layer_that_is_shared_out_takes_its_part_of_the_memory():
    stack = DecoderStack(Decoder(layers=8, width=16, heads=2))
    (whole, half) = (memory.training_bytes(stack, 0, shared_by=size) for size in (1, 2))
    layer = memory.training_bytes(stack.layers[0], 0)
    assert whole == 8 * layer + 5 * 16 * 4
    assert half == 4 * layer + layer + 5 * 16 * 4


@pytest.mark.parametrize("batch_size", [2, 10**6])
def test_every_process_must_have_a_window_of_each_batch(batch_size):
    few = recipe.parts().train
    few = few.keep(few.event_users < 3)
    with pytest.raises(DataError, match="share a batch"):
        windows(few, length=100, batch_size=batch_size, processes=Processes(0, 4))
