"""A teacher's states for every training window, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from modicum.data.windows import flat_ranges
from modicum.errors import ResourceError, SettingError
from modicum.methods.network import weights_digest
from modicum.methods.sequential.item_decoder import ItemDecoder
from modicum.training import memory
from modicum.training.batches import Windows

WINDOWS_PER_PASS = 256

Shape = tuple[tuple[int, ...], type]
"""Of an array, and the type of its numbers."""


class TeacherStates:
    """The lesson of a fixed teacher for every target of the training windows.

    The states are float16. In a folder they are memory-mapped files, named by a hash of the
    teacher's weights and of the windows; a computation that was cut off goes on where it stopped,
    and files that are damaged are made anew, finished or not. Of many processes one computes, and the others wait and read.

    Args:
        windows: the windows to teach.
        teacher: its lessons are kept.
        ends: B depths in layers.
        top_logits: K, how many logits to keep besides; 0 for none.
        folder: where the files stand; None keeps the states in memory.
        say: is told the size before it is taken.
    """

    def __init__(
        self,
        windows: Windows,
        teacher: ItemDecoder,
        ends: Sequence[int],
        top_logits: int,
        folder: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.hashes: dict[str, hashlib._Hash] = {}
        self.place = np.concatenate([[0], np.cumsum(windows.targets)])
        positions, width = int(self.place[-1]), teacher.decoder.shape.width
        shapes: dict[str, Shape] = {"states": ((positions, len(ends), width), np.float16)}
        if top_logits:
            shapes["top"] = ((positions, top_logits), np.int32)
            shapes["top_logits"] = ((positions, top_logits), np.float16)
        size = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in shapes.values())
        where = folder or "memory"
        say(f"teacher states: {positions:,} positions, {size / 2**20:,.0f} MiB in {where}")
        lessons = partial(_lessons, windows, teacher, ends, top_logits)
        if folder is None:
            memory.require(size, torch.device("cpu"), "keeping the teacher's states")
            self.arrays = {name: np.empty(shape, kind) for name, (shape, kind) in shapes.items()}
            for which, lesson in lessons(0):
                self._put(which, lesson)
            return
        folder.mkdir(parents=True, exist_ok=True)
        key = _key(windows, teacher, ends, top_logits)
        standing = folder / f"{key}.json"
        if windows.processes.leads:
            done = self._done(folder / key, shapes, standing, windows)
            taken = sum(file.stat().st_size for file in folder.glob(f"{key}.*.npy"))
            free = shutil.disk_usage(folder).free + taken
            if not done and size > free:
                raise ResourceError(
                    f"the teacher's states take {size / 2**30:.1f} GiB, and {folder} has "
                    f"{free / 2**30:.1f} GiB free; choose another folder"
                )
            self._open(folder / key, shapes, "r+" if done else "w+")
            for which, lesson in lessons(done):
                self._put(which, lesson)
                done += len(which)
                self._hash(which)
                self._keep(standing, done)
        windows.processes.wait()
        self._open(folder / key, shapes, "r")

    def of(self, which: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the lesson for a batch of windows, aligned with its targets."""
        at = flat_ranges(self.place[which], self.place[which + 1])
        lesson = {name: torch.from_numpy(array[at]) for name, array in self.arrays.items()}
        if "top" in lesson:
            lesson["top"] = lesson["top"].long()
        return lesson

    def _open(self, stem: Path, shapes: Mapping[str, Shape], mode: str) -> None:
        self.arrays = {
            name: np.lib.format.open_memmap(
                stem.with_suffix(f".{name}.npy"), mode, dtype=kind, shape=shape
            )
            for name, (shape, kind) in shapes.items()
        }

    def _put(self, which: np.ndarray, lesson: Mapping[str, torch.Tensor]) -> None:
        at = flat_ranges(self.place[which], self.place[which + 1])
        for name, array in self.arrays.items():
            with np.errstate(over="ignore"):
                array[at] = lesson[name].cpu().numpy()
            if not np.isfinite(array[at]).all():
                raise SettingError(
                    "the teacher's states are too large for float16, in which they are kept; train "
                    "the teacher with a lower learning_rate, or distil with distillation='online'"
                )

    def _done(
        self, stem: Path, shapes: Mapping[str, Shape], standing: Path, windows: Windows
    ) -> int:
        """Return how many windows the files hold whole; 0 where they are not as they were left."""
        try:
            kept = json.loads(standing.read_text(encoding="utf-8"))
            done, left = int(kept["windows"]), kept["sha256"]
            self._open(stem, shapes, "r")
        except (OSError, ValueError, TypeError, KeyError):  # none there, or cut off
            return 0
        for which in _passes(windows, 0, done):
            self._hash(which)
        if self._digests() == left:
            return done
        self.hashes.clear()
        return 0

    def _hash(self, which: np.ndarray) -> None:
        """Add the lesson of some windows to the hashes of all before them."""
        at = flat_ranges(self.place[which], self.place[which + 1])
        for name, array in self.arrays.items():
            self.hashes.setdefault(name, hashlib.sha256()).update(array[at].tobytes())

    def _digests(self) -> dict[str, str]:
        return {name: digest.hexdigest() for name, digest in self.hashes.items()}

    def _keep(self, standing: Path, done: int) -> None:
        for array in self.arrays.values():
            assert isinstance(array, np.memmap)
            array.flush()
        aside = standing.with_suffix(".aside")
        aside.write_text(json.dumps({"windows": done, "sha256": self._digests()}), encoding="utf-8")
        aside.replace(standing)


def _lessons(
    windows: Windows, teacher: ItemDecoder, ends: Sequence[int], top_logits: int, done: int
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    """Yield (windows, lesson) for all windows after the first ``done``."""
    teacher.eval()
    device = teacher.into.weight.device
    for which in _passes(windows, done, windows.num_windows):
        yield which, teacher.lesson(windows.batch(which).to(device), ends, top_logits)


def _passes(windows: Windows, begin: int, end: int) -> Iterator[np.ndarray]:
    """Yield the windows that are taught at once, shortest first, from one place to another."""
    by_length = np.argsort(windows.ends - windows.starts, kind="stable")[:end]
    for at in range(begin, len(by_length), WINDOWS_PER_PASS):
        yield by_length[at : at + WINDOWS_PER_PASS]


def _key(windows: Windows, teacher: ItemDecoder, ends: Sequence[int], top_logits: int) -> str:
    digest = hashlib.sha256(json.dumps([list(ends), top_logits, windows.last_only]).encode())
    digest.update(weights_digest(teacher).encode())
    for array in (windows.item_rows, windows.starts, windows.ends):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]
