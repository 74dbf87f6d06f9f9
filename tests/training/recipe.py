"""One small training, the same in every process; as a script, it is there to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from modicum.data.simulate import simulate_markov
from modicum.data.split import Split, split
from modicum.methods.sequential.sasrec import SASRec
from modicum.training import loop

STEPS_TO_LIVE = 25
SHARED = {"dropout": 0.0, "clip_norm": 0.05, "head": "float32", "batch_size": 32, "epochs": 2}


def parts() -> Split:
    return split(simulate_markov(60, 30, events_per_user=15.0, span_days=60.0, seed=0).log)


def model(**settings) -> SASRec:
    small = {"length": 8, "dim": 8, "layers": 1, "epochs": 4, "batch_size": 8, "patience": 0}
    fixed = {"dropout": 0.2, "learning_rate": 1e-2, "warmup_steps": 30, "device": "cpu"}
    return SASRec(**small | fixed | settings)


def hang_after(steps: int) -> None:
    """Make the loop write a checkpoint at every batch, and stop dead after ``steps`` of them."""
    loop.CHECKPOINT_EVERY_S = 0.0
    advance = loop.ProgressBar.advance

    def hanging(bar, standing):
        if standing.steps > steps:
            time.sleep(600)
        advance(bar, standing)

    loop.ProgressBar.advance = hanging


if __name__ == "__main__":
    task, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    data = parts()
    if task == "hang":
        hang_after(STEPS_TO_LIVE)
        model().fit(data.train, data.validation, folder=folder, progress=False)
    elif task == "share":
        shared = model(**SHARED)
        shared.fit(data.train, data.validation, progress=False)
        if torch.distributed.get_rank() == 0:
            shared.save(folder)
        torch.distributed.destroy_process_group()
