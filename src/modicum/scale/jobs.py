"""A scoring job: what is asked for, and the folder that says which parts of it are done."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl
import torch

from modicum import __version__
from modicum.bundle import CONFIG
from modicum.data.fetching import sha256
from modicum.errors import SettingError

FORMAT = 1
MANIFEST = "manifest.json"
WORK = ".work"
"""Folder for the events by shard and for parts under way; it goes when the job is done."""


@dataclass(frozen=True)
class Ask:
    """What is asked for each user.

    Args:
        k: items at most.
        domain: recommend items of this domain; None: of all.
        exclude_seen: leave out items of the history.
    """

    k: int = 10
    domain: str | None = None
    exclude_seen: bool = True


@dataclass(frozen=True)
class Part:
    """A part that is done.

    Args:
        shard: number of the shard that it scores.
        users: in it.
        unknown: users of whose events the model knows nothing.
        rows: of scores.
        sha256: of its file.
    """

    shard: int
    users: int
    unknown: int
    rows: int
    sha256: str


def job_of(
    model: Path, events: str, columns: dict[str, str], ask: Ask, partitions: int
) -> dict[str, Any]:
    """Return all that decides the scores, as JSON values.

    Args:
        model: folder of a saved model.
        events: hash of the events.
        columns: role -> name of the column.
        ask: what is asked for.
        partitions: number of shards.
    """
    versions = {"modicum": __version__, "polars": pl.__version__, "torch": str(torch.__version__)}
    return {
        "model": sha256(model / CONFIG),
        "events": events,
        "columns": columns,
        **asdict(ask),
        "partitions": partitions,
        "versions": versions,
    }


@dataclass
class Manifest:
    """The file that says which job a folder is of, and which parts of it are done.

    Args:
        folder: of the scores.
        job: what decides them, as ``job_of`` returns it.
        parts: those done.
    """

    folder: Path
    job: dict[str, Any]
    parts: dict[int, Part]

    @classmethod
    def enter(cls, folder: Path, job: dict[str, Any]) -> Self:
        """Make ``folder`` the place of this job, or go on with the same job in it.

        Parts whose file is absent or damaged are not done.

        Raises:
            SettingError: the folder holds the scores of another job, or no manifest can be read.
        """
        path = folder / MANIFEST
        manifest = cls(folder, job, {})
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise SettingError(
                    f"{folder} holds something else than scores: it has files and no {MANIFEST}; "
                    "choose another folder with --out"
                )
            manifest.write()
            return manifest
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            done = [Part(**part) for part in there["parts"]]
            theirs = {"format": there["format"], **there["job"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingError(
                f"{path} cannot be read ({error!r}); choose another folder with --out, or delete "
                "this one"
            ) from None
        mine = {"format": FORMAT, **job}
        if differ := [key for key in mine if mine[key] != theirs.get(key)]:
            said = "; ".join(f"{key}: {theirs.get(key)} there, {mine[key]} here" for key in differ)
            raise SettingError(
                f"{folder} holds the scores of another job ({said}); choose another folder with "
                "--out, or delete this one"
            )
        for part in done:
            file = folder / part_name(part.shard)
            if file.exists() and sha256(file) == part.sha256:
                manifest.parts[part.shard] = part
        return manifest

    @property
    def missing(self) -> list[int]:
        """Shards that are still to be scored."""
        return [shard for shard in range(self.job["partitions"]) if shard not in self.parts]

    def add(self, part: Part) -> None:
        """Keep that a part is done."""
        self.parts[part.shard] = part
        self.write()

    def write(self) -> None:
        """Write the file aside, where what a kill leaves is swept away, and rename it."""
        parts = [asdict(part) for _, part in sorted(self.parts.items())]
        content = {"format": FORMAT, "job": self.job, "parts": parts}
        aside = self.folder / WORK / f"{MANIFEST}.{os.getpid()}"
        aside.parent.mkdir(exist_ok=True)
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        aside.replace(self.folder / MANIFEST)


def part_name(shard: int) -> str:
    """Return the file name of the scores of a shard.

    >>> part_name(17)
    'part-00017.parquet'
    """
    return f"part-{shard:05d}.parquet"
