"""A teacher's states for every training window, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modicum.data.windows import flat_ranges
from modicum.methods.sequential.llmrec import Network
from modicum.training import memory
from modicum.training.batches import Batch, Windows

WINDOWS_PER_PASS = 256


class TaughtWindows(Windows):
    """Training windows whose batches carry the lesson of a fixed teacher.

    The states are float16. In a folder they are memory-mapped files, named by a hash of the
    teacher's weights and of the windows; a computation that was cut off goes on where it stopped.

    Args:
        windows: the batches to teach.
        teacher: without gradient; its lesson for a batch becomes the batch's ``extra``.
        ends: B depths in layers.
        top_logits: K, how many logits to keep besides; 0 for none.
        folder: where the files stand; None keeps the states in memory.
    """

    lessons: dict[str, np.ndarray]

    def __init__(
        self,
        windows: Windows,
        teacher: Network,
        ends: Sequence[int],
        top_logits: int,
        folder: Path | None,
    ) -> None:
        vars(self).update(vars(windows))
        lengths = np.ones_like(self.starts) if self.last_only else self.ends - self.starts - 1
        self.place = np.concatenate([[0], np.cumsum(lengths)])
        positions, width = int(self.place[-1]), teacher.decoder.shape.width
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "states": ((positions, len(ends), width), np.float16)
        }
        if top_logits:
            shapes["top"] = ((positions, top_logits), np.int32)
            shapes["top_logits"] = ((positions, top_logits), np.float16)
        size = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in shapes.values())
        print(
            f"teacher states: {positions:,} positions, {size / 2**20:,.0f} MiB in {folder or 'memory'}",
            file=sys.stderr,
        )
        if folder is None:
            memory.require(size, torch.device("cpu"), "keeping the teacher's states")
            self.lessons = {name: np.empty(shape, kind) for name, (shape, kind) in shapes.items()}
            self._compute(teacher, ends, top_logits, 0, None)
            return
        folder.mkdir(parents=True, exist_ok=True)
        key = self._key(teacher, ends, top_logits)
        standing = folder / f"{key}.json"
        done = json.loads(standing.read_text(encoding="utf-8")) if standing.exists() else 0
        self.lessons = {
            name: np.lib.format.open_memmap(
                folder / f"{key}.{name}.npy", "r+" if done else "w+", dtype=kind, shape=shape
            )
            for name, (shape, kind) in shapes.items()
        }
        self._compute(teacher, ends, top_logits, done, standing)

    def batch(self, which: np.ndarray) -> Batch:
        batch = super().batch(which)
        at = flat_ranges(self.place[which], self.place[which + 1])
        batch.extra = {name: torch.from_numpy(x[at]) for name, x in self.lessons.items()}
        if "top" in batch.extra:
            batch.extra["top"] = batch.extra["top"].long()
        return batch

    def _compute(
        self,
        teacher: Network,
        ends: Sequence[int],
        top_logits: int,
        done: int,
        standing: Path | None,
    ) -> None:
        by_length = np.argsort(self.ends - self.starts, kind="stable")
        teacher.eval()
        device = teacher.items.weight.device
        for begin in range(done, len(by_length), WINDOWS_PER_PASS):
            which = by_length[begin : begin + WINDOWS_PER_PASS]
            lesson = teacher.lesson(super().batch(which).to(device), ends, top_logits)
            at = flat_ranges(self.place[which], self.place[which + 1])
            for name, array in self.lessons.items():
                array[at] = lesson[name].cpu().numpy()
            if standing is not None:
                for array in self.lessons.values():
                    assert isinstance(array, np.memmap)
                    array.flush()
                aside = standing.with_suffix(".aside")
                aside.write_text(json.dumps(begin + len(which)), encoding="utf-8")
                aside.replace(standing)

    def _key(self, teacher: Network, ends: Sequence[int], top_logits: int) -> str:
        digest = hashlib.sha256(json.dumps([list(ends), top_logits, self.last_only]).encode())
        digest.update(weights_digest(teacher).encode())
        for array in (self.item_rows, self.starts, self.ends):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:24]


def weights_digest(network: nn.Module) -> str:
    """Return a hash of all weights of a network."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
