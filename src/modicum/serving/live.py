"""The model that answers now, and how a new one takes its place without a pause."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

import numpy as np

from modicum import exported
from modicum.data.fetching import sha256
from modicum.errors import BundleError
from modicum.exported import CONFIG, Exported
from modicum.serving.batching import Batcher
from modicum.serving.engine import Answer, Engine, Query

BUNDLE = "config.json"
"""What a saved model holds, and an export does not."""


class Loaded:
    """One model that answers, and the thread that runs it.

    Args:
        engine: the model, ready to rank.
        version: tells this model from another one of the same method.
        observe: told how many requests each batch has.
    """

    def __init__(self, engine: Engine, version: str, observe: Callable[[int], object]) -> None:
        self.engine, self.version = engine, version
        self._observe = observe
        self._batcher: Batcher[Query, Answer] = Batcher(self._answer)

    @property
    def method(self) -> str:
        """Word of the method."""
        return self.engine.model.method

    @property
    def described(self) -> dict[str, str]:
        """What answers, in words."""
        model = self.engine.model
        return {
            "method": model.method,
            "version": self.version,
            "precision": model.precision,
            "items": str(len(model.vocabulary)),
        }

    @property
    def waiting(self) -> int:
        """How many requests wait for the model."""
        return self._batcher.waiting

    def ask(self, query: Query) -> Future[Answer]:
        """Return the answer to come.

        Raises:
            ResourceError: this model has been replaced, or the server stops.
        """
        return self._batcher.ask(query)

    def close(self) -> None:
        """Answer what has been asked, then stop."""
        self._batcher.close()

    def _answer(self, queries: Sequence[Query]) -> list[Answer]:
        self._observe(len(queries))
        return self.engine.answer(queries)


class Source:
    """A folder of an export or of a saved model, which another one may take the place of.

    Args:
        folder: may be a link that is moved from one model to the next.
        threads: of the encoder.
    """

    def __init__(self, folder: str | Path, *, threads: int = 1) -> None:
        self.folder, self.threads = Path(folder), threads

    def stamp(self) -> tuple[object, ...]:
        """Return what changes when the model does."""
        folder = self.folder.resolve()
        for name in (CONFIG, BUNDLE):
            try:
                stat = (folder / name).stat()
            except OSError:
                continue
            return folder, name, stat.st_mtime_ns, stat.st_size, stat.st_ino
        return (folder,)

    def read(self) -> tuple[Exported, str]:
        """Read the model and tell its version; a saved model is exported first.

        Raises:
            BundleError: there is no model, or it is damaged.
        """
        folder = self.folder.resolve()
        if not (folder / CONFIG).exists() and (folder / BUNDLE).exists():
            folder = _exported(folder)
        model = exported.read(folder, threads=self.threads)
        return model, sha256(folder / CONFIG)[:12]


def _exported(folder: Path) -> Path:
    """Export a saved model by a process of its own, so that this one needs no torch."""
    out = folder / "onnx"
    command = [sys.executable, "-m", "modicum", "export", str(folder), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        *_, last = ["", *done.stderr.strip().splitlines()]
        raise BundleError(
            f"{folder} could not be exported: {last.removeprefix('modicum: error: ')}"
        )
    return out


class Live:
    """What answers at this moment.

    Args:
        source: where the model is read from, now and whenever it has changed.

    Raises:
        BundleError: there is no model to begin with.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.observe: Callable[[int], object] = lambda size: None
        """Told how many requests each batch has."""
        self._stamp = source.stamp()
        self.current = self._load()

    def refresh(self) -> bool:
        """Put a new model in the place of the one that answers, if there is one; say whether.

        It is read and tried aside first. What the old one was asked, it still answers.

        Raises:
            BundleError: the new model cannot be used; the old one goes on.
        """
        stamp = self.source.stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        old, self.current = self.current, self._load()
        old.close()
        return True

    def close(self) -> None:
        """Answer what has been asked, then stop."""
        self.current.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self) -> Loaded:
        model, version = self.source.read()
        engine = Engine(model)
        engine.answer([Query(model.vocabulary.names(np.array([1])).to_list()), Query([])])
        return Loaded(engine, version, lambda size: self.observe(size))
