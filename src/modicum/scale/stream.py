"""Scoring on one machine: shards one after the other, or a few at once in threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch

from modicum.methods.recommender import Recommender
from modicum.scale.jobs import Ask, Part
from modicum.scale.scoring import score_shard
from modicum.scale.shards import Shards


def run(
    model: Recommender, shards: Shards, which: Sequence[int], ask: Ask, out: Path, *, workers: int
) -> Iterator[Part]:
    """Score shards in threads and yield each part when it is done.

    Args:
        model: a fitted recommender.
        shards: the events.
        which: the shards to score.
        ask: what is asked for.
        out: folder of the scores.
        workers: shards at the same time, each on one thread of torch, so that the scores do not
            depend on their number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="score")
    try:
        jobs = [pool.submit(score_shard, model, shards, shard, ask, out) for shard in which]
        for done in as_completed(jobs):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
