"""One small training, the same in every process; as a script, it is there to be killed."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from modicum.data.simulate import simulate_markov
from modicum.data.split import Split, split
from modicum.methods.sequential.llmrec import LLMRec
from modicum.methods.sequential.sasrec import SASRec
from modicum.training import loop, memory
from modicum.training.processes import Processes

STEPS_TO_LIVE = 25
SHARED = {"dropout": 0.0, "clip_norm": 0.05, "head": "float32", "batch_size": 32, "epochs": 2}


def parts() -> Split:
    return split(simulate_markov(60, 30, events_per_user=15.0, span_days=60.0, seed=0).log)


def model(**settings) -> SASRec:
    small = {"length": 8, "dim": 8, "layers": 1, "epochs": 4, "batch_size": 8, "patience": 0}
    fixed = {"dropout": 0.2, "learning_rate": 1e-2, "warmup_steps": 30, "device": "cpu"}
    return SASRec(**small | fixed | settings)


def teacher(**settings) -> LLMRec:
    """A decoder of three layers; one process holds it whole."""
    shape = {"layers": 3, "width": 16, "heads": 2}
    small = {"backbone": shape, "dim": 8, "length": 8, "batch_size": 32, "epochs": 3, "patience": 0}
    fixed = {"dropout": 0.0, "clip_norm": 0.05, "learning_rate": 1e-2, "head": "float32"}
    return LLMRec(**small | fixed | {"device": "cpu"} | settings)


def share_layers_out() -> None:
    """Let no network fit into memory that is not shared out."""
    needed = memory.training_bytes

    def pretended(network, positions, *, shared_by=1, **how):
        return needed(network, positions, shared_by=shared_by, **how) if shared_by > 1 else 2**60

    memory.training_bytes = pretended


def stop_after(steps: int) -> None:
    """Press Ctrl-C once so many batches are done."""
    advance = loop.ProgressBar.advance

    def stopping(bar, standing):
        advance(bar, standing)
        if standing.steps == steps:
            signal.raise_signal(signal.SIGINT)

    loop.ProgressBar.advance = stopping


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
        Processes.join().leave()
    elif task in ("teach", "teach and stop"):
        share_layers_out()
        if task == "teach and stop":
            stop_after(STEPS_TO_LIVE // 5)
        shared = teacher(tune=sys.argv[3])
        with suppress(KeyboardInterrupt):
            shared.fit(data.train, data.validation, progress=False, folder=folder / "checkpoint")
            if torch.distributed.get_rank() == 0:
                shared.save(folder / "model")
        Processes.join().leave()
