"""Two processes train as one does with the same global batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import modicum
from modicum.errors import DataError
from modicum.training.processes import Processes

from . import recipe
from .conftest import windows


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def test_two_processes_end_where_one_does(tmp_path):
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, recipe.__file__, "share", tmp_path]
    both = [
        subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    torch.set_num_threads(1)
    data = recipe.parts()
    alone = recipe.model(**recipe.SHARED)
    alone.fit(data.train, data.validation, progress=False)
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    shared = modicum.load(Path(tmp_path))
    for one, two in zip(alone.training_log, shared.training_log, strict=True):
        assert two["targets"] == one["targets"]
        assert two["losses"]["softmax"] == pytest.approx(one["losses"]["softmax"], abs=1e-5)
        assert two["validation"] == pytest.approx(one["validation"], abs=1e-5)
    weights = shared.fitted_network.state_dict()
    for name, tensor in alone.fitted_network.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch_size", [2, 10**6])
def test_every_process_must_have_a_window_of_each_batch(batch_size):
    few = recipe.parts().train
    few = few.keep(few.event_users < 3)
    with pytest.raises(DataError, match="share a batch"):
        windows(few, length=100, batch_size=batch_size, processes=Processes(0, 4))
