"""Where the model that answers is read from: a folder that another model may take the place of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from modicum import exported
from modicum.card import CONFIG as BUNDLE
from modicum.data.fetching import sha256
from modicum.errors import BundleError
from modicum.exported import CONFIG, Exported
from modicum.serving import turns

if TYPE_CHECKING:
    from modicum.serving.saved import Saved

BY_DOMAIN = "crossdomain"
"""The family of methods whose reading of a history depends on the domain that is asked for."""
WHOLE = "crossdomain.merged"
"""The one of them that may read all of it, whatever is asked for."""
ONNX = "onnx"
OF = "exported-of.txt"
"""The folder of the export that a server makes of a saved model, and in it the hashes of both."""


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
        return stamp(self.folder)

    def read(self) -> tuple[Exported | Saved, str]:
        """Read and check the model, and tell its version.

        A saved model is exported first, unless it reads a history for what is asked for.

        Raises:
            BundleError: there is no model, or it is damaged.
        """
        folder = self.folder.resolve()
        if not (folder / BUNDLE).exists():
            return self._read(folder)
        if _answers_itself(folder):
            require_torch(folder)
            from modicum.serving import saved

            return saved.read(folder, threads=self.threads), sha256(folder / BUNDLE)[:12]
        found = self._made(folder)
        if found is None:
            with _alone(folder) as held:
                # Another server of this model may have made it meanwhile.
                found = self._made(folder) or self._read(_export(folder, held))
        return found

    def _made(self, folder: Path) -> tuple[Exported, str] | None:
        """Read the export of a saved model that a server has made, if it is there and sound."""
        out = folder / ONNX
        try:
            if (out / OF).read_text(encoding="utf-8") == _hashes(folder, out):
                return self._read(out)
        except (OSError, BundleError):
            pass
        return None

    def _read(self, folder: Path) -> tuple[Exported, str]:
        model = exported.read(folder, threads=self.threads)
        exported.check_parity(model)
        return model, sha256(folder / CONFIG)[:12]


def stamp(folder: Path) -> tuple[object, ...]:
    """Return what changes when a folder, or a link to one, holds another model."""
    folder = folder.resolve()
    for name in (BUNDLE, CONFIG):
        try:
            stat = (folder / name).stat()
        except OSError:
            continue
        return folder, name, stat.st_mtime_ns, stat.st_size, stat.st_ino
    return (folder,)


def require_torch(folder: Path) -> None:
    """Raise BundleError where torch is not installed, by which a saved model answers."""
    try:
        import_module("torch")
    except ImportError:
        raise BundleError(
            f"the model in {folder} answers by torch, which is not installed here; install it, or "
            "serve from where the model was fitted"
        ) from None


def _answers_itself(folder: Path) -> bool:
    """Tell whether a saved model reads a history for the domain or the behaviour asked for."""
    try:
        config = json.loads((folder / BUNDLE).read_text(encoding="utf-8"))
        method, settings = config["method"], config["settings"]
        family = method.partition(".")[0]
        whole = (
            method == WHOLE
            and settings.get("history") == "merged"
            and settings.get("target") is None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{folder / BUNDLE} is damaged ({error!r}); save the model again"
        ) from None
    return family == BY_DOMAIN and not whole


def _export(folder: Path, held: int) -> Path:
    """Export a saved model by a process of its own, so that this one needs no torch.

    Args:
        folder: of the model.
        held: descriptor of the lock, which lasts as long as that process, however this one ends.
    """
    out = folder / ONNX
    command = [sys.executable, "-m", "modicum", "export", str(folder), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=(held,))
    if done.returncode:
        *_, last = ["", *done.stderr.strip().splitlines()]
        reason = last.removeprefix("modicum: error: ")
        raise BundleError(f"{folder} could not be exported: {reason}")
    (out / OF).write_text(_hashes(folder, out), encoding="utf-8")
    return out


def _hashes(folder: Path, out: Path) -> str:
    return f"{sha256(folder / BUNDLE)} {sha256(out / CONFIG)}\n"


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Wait until no other server exports this model, and hold them off; a kill lets go."""
    try:
        file = (folder / ".exporting").open("w")
    except OSError as error:
        raise BundleError(
            f"{folder} cannot be written to ({error.strerror}); "
            "write an export elsewhere and serve that: modicum export MODEL --out FOLDER"
        ) from None
    with file:
        turns.take(file)
        yield file.fileno()
