"""``modicum score``: the best items of every user of a log of any size, as a folder of tables."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from modicum import bundle
from modicum.data.log import EventLog
from modicum.errors import ResourceError, SettingError
from modicum.evaluation.progress import followed
from modicum.methods.recommender import Recommender
from modicum.nn.memory import available_bytes
from modicum.scale import stream
from modicum.scale.jobs import WORK, Ask, Manifest, Part, job_of
from modicum.scale.scoring import needed_bytes
from modicum.scale.shards import Shards, enough, split_by_user

Engine = Literal["stream", "ray"]

PROCESS_BYTES = 2**29
"""What a process of Ray takes before it has done anything, torch loaded."""


@dataclass(frozen=True)
class Scored:
    """What a job came to: users, those of whom the model knows nothing, and rows of scores."""

    users: int
    unknown: int
    rows: int


def score(
    model: str | Path,
    log: EventLog,
    out: str | Path,
    ask: Ask | None = None,
    *,
    digest: str,
    partitions: int | None = None,
    engine: Engine = "stream",
    workers: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> Scored:
    """Write the best items of every user of a log; what is there of the same job is not done again.

    Users are split into shards by a hash of their id; each shard becomes one file
    ``part-00017.parquet``. Both engines write the same bytes.

    Args:
        model: folder of a saved recommender.
        log: the events; they may be more than fit into memory.
        out: folder of the scores.
        ask: what is asked for.
        digest: hash of the events, by which the job is known again.
        partitions: number of shards; if not given, one for each million events.
        engine: ``"stream"``: this process; ``"ray"``: processes of Ray.
        workers: shards at the same time; if not given, as many as torch has threads, on a cluster
            as many as it has processors.
        cluster: address of a Ray cluster that sees ``model`` and ``out`` under the same paths.
        progress: show progress on standard error.

    Raises:
        SettingError: ``out`` holds another job, or an argument is out of range.
        DataError: the events do not fit the model.
        BundleError: the model cannot be read.
        ResourceError: a shard does not fit into memory.
        MissingExtraError: the extra ``scale`` is not installed.
    """
    if partitions is not None and partitions < 1:
        raise SettingError(f"partitions={partitions} must be 1 or more")
    if workers is not None and workers < 1:
        raise SettingError(f"workers={workers} must be 1 or more")
    if cluster is not None and engine != "ray":
        raise SettingError(f"cluster={cluster!r} is for engine='ray'")
    ask, model, out = ask or Ask(), Path(model).resolve(), Path(out).resolve()
    loaded: Recommender = bundle.load(model)
    loaded.recommend(histories=[[]], k=ask.k, domain=ask.domain)  # refuses what cannot be asked
    partitions = partitions or enough(len(log))
    manifest = Manifest.enter(out, job_of(model, digest, log.columns, ask, partitions))
    if missing := manifest.missing:
        if progress:
            print(
                f"score {len(log):,} events in {partitions:,} shards, {len(missing):,} of them "
                f"to do; the events by shard take about as much disk again in {out / WORK}",
                file=sys.stderr,
            )
        shards = split_by_user(log, out / WORK, partitions, manifest.job)
        at_once = workers or torch.get_num_threads()
        _require_memory(loaded, shards, ask, engine, None if cluster else at_once, progress)
        parts: Iterator[Part]
        if engine == "stream":
            parts = stream.run(loaded, shards, missing, ask, out, workers=at_once)
        else:
            from modicum.scale import on_ray

            here = workers if cluster else at_once
            parts = on_ray.run(model, shards, missing, ask, out, workers=here, cluster=cluster)
        slices = [slice(at, at + 1) for at in range(len(missing))]
        for _, part in zip(
            followed("score", slices, shown=progress, what="shards"), parts, strict=True
        ):
            manifest.add(part)
    shutil.rmtree(out / WORK, ignore_errors=True)
    done = manifest.parts.values()
    return Scored(
        users=sum(part.users for part in done),
        unknown=sum(part.unknown for part in done),
        rows=sum(part.rows for part in done),
    )


def _require_memory(
    model: Recommender, shards: Shards, ask: Ask, engine: Engine, here: int | None, progress: bool
) -> None:
    """Say what scoring takes, and refuse what does not fit into this machine; None: it is not here."""
    largest = shards.largest
    each = needed_bytes(model, shards.events[largest], shards.users(largest), ask.k)
    weights = sum(p.numel() * p.element_size() for p in model.fitted_network.parameters())
    each += weights + PROCESS_BYTES if engine == "ray" else 0
    needed = each * (here or 1) + weights
    if progress:
        where = f"{here} at once" if here else "each process of the cluster"
        print(f"scoring takes about {needed / 2**30:.1f} GiB ({where})", file=sys.stderr)
    free = available_bytes(torch.device("cpu"))
    if here is not None and free is not None and needed > free:
        raise ResourceError(
            f"scoring needs about {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
            "take fewer workers or more partitions"
        )
