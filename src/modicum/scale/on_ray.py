"""Scoring on Ray Data: an actor pool, on this machine or a cluster."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from modicum import bundle
from modicum.errors import MissingExtraError, ModicumError, ResourceError
from modicum.scale.jobs import Ask, Part
from modicum.scale.scoring import score_shard
from modicum.scale.shards import Shards


class Scorer:
    """What each process of the pool is: a loaded model that scores the shards it is given."""

    def __init__(self, model: str, shards: Shards, ask: Ask, out: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.model = bundle.load(model)
        self.shards, self.ask, self.out = shards, ask, Path(out)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        parts = [
            asdict(score_shard(self.model, self.shards, int(shard), self.ask, self.out))
            for shard in batch["shard"]
        ]
        return {name: [part[name] for part in parts] for name in parts[0]}


def run(
    model: Path,
    shards: Shards,
    which: Sequence[int],
    ask: Ask,
    out: Path,
    *,
    workers: int | None,
    cluster: str | None,
) -> Iterator[Part]:
    """Score shards in the processes of Ray and yield each part when it is done.

    A process that dies is started again, and what it had in hand is given out again.

    Args:
        model: folder of a saved recommender.
        shards: the events.
        which: the shards to score.
        ask: what is asked for.
        out: folder of the scores.
        workers: processes; None: as many as the cluster has processors.
        cluster: address of a cluster; None: this machine, and nothing listens beyond it.
    """
    with _settings(local=cluster is None):
        ray = _connected(workers, cluster)
        try:
            count = workers or int(ray.cluster_resources().get("CPU", 1))
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            jobs = ray.data.from_items(
                [{"shard": shard} for shard in which], override_num_blocks=len(which)
            )
            parts = jobs.map_batches(
                Scorer,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(count, len(which))),
                num_cpus=1,
                fn_constructor_args=(str(model), shards, ask, str(out)),
            )
            for row in parts.iter_rows():
                yield Part(**row)
        except Exception as error:
            raise _cause(error) from None
        finally:
            ray.shutdown()


@contextmanager
def _settings(*, local: bool) -> Iterator[None]:
    """Give Ray what it reads from the environment; a local one listens on loopback, with a token."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if local:
        settings |= {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux as well: one machine, loopback
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _connected(workers: int | None, cluster: str | None) -> Any:
    """Return Ray, connected to a cluster or started here."""
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise MissingExtraError("scale", "ray", "The engine 'ray'") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if cluster is None:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address=cluster, **quiet)
    except Exception as error:
        where = cluster or "this machine"
        raise ResourceError(
            f"Ray cannot be reached at {where} ({error}); check the address with 'ray status'"
        ) from None
    return ray


def _cause(error: BaseException) -> BaseException:
    """Return the error of ours that Ray wrapped into its own, or what there is."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ModicumError):
            return found
        inner = getattr(found, "cause", None)
        found = inner if isinstance(inner, BaseException) else found.__cause__
    said = " ".join(str(error).split())[:500]
    return ResourceError(
        f"Ray gave up ({said}); what is done is kept, and the same command goes on from there"
    )
