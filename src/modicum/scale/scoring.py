"""Scores of one shard: what every engine calls, so that all give the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from modicum.data.fetching import sha256
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.methods.recommender import Recommender
from modicum.methods.scoring import POSITIONS_PER_BATCH, SCORES_PER_BLOCK
from modicum.scale.jobs import WORK, Ask, Part, part_name
from modicum.scale.shards import Shards, read_shard


def score_shard(model: Recommender, shards: Shards, shard: int, ask: Ask, out: Path) -> Part:
    """Score the users of a shard and write its part, aside first, then under its name.

    Args:
        model: a fitted recommender.
        shards: the events.
        shard: number of the shard.
        ask: what is asked for.
        out: folder of the scores.

    Raises:
        DataError: the file of the shard is damaged, or the model cannot read its items.
    """
    events = read_shard(shards.path(shard), shards.digests[shard])
    scores, users, unknown = scores_of(model, events, ask, source=str(shards.path(shard)))
    aside = out / WORK / f".{part_name(shard)}.{uuid4().hex}"
    scores.write_parquet(aside)
    part = Part(shard, users, unknown, len(scores), sha256(aside))
    aside.replace(out / part_name(shard))
    return part


def scores_of(
    model: Recommender, events: pl.DataFrame, ask: Ask, *, source: str
) -> tuple[pl.DataFrame, int, int]:
    """Return the best items of each user, how many users there are, and how many are unknown.

    Args:
        model: a fitted recommender.
        events: of all these users, with canonical column names, in the order of their log.
        ask: what is asked for.
        source: of the events, for messages.

    Returns:
        Columns ``user``, ``item``, ``domain`` where items have one, ``score``, ``rank`` from 1, and
        ``source``: ``model``, or ``popularity`` where the model knows none of the user's events.
    """
    settings: dict[str, Any] = vars(ask)
    if events.is_empty():
        top = model.recommend(histories=[], **settings)
        user = pl.lit(None, events.schema["user"]).alias("user")
        return top.select(user, pl.exclude("query"), pl.lit("model").alias("source")), 0, 0
    histories = Histories.from_log(EventLog(events.lazy(), source=source))
    top = model.recommend(histories=histories, **settings)
    known = model.knows(histories, ask.domain)
    by = pl.when(pl.Series(known)).then(pl.lit("model")).otherwise(pl.lit("popularity"))
    sources = pl.select(query=histories.user_ids, source=by)
    scores = top.join(sources, on="query", how="left", maintain_order="left")
    return scores.rename({"query": "user"}), len(known), int((~known).sum())


def needed_bytes(model: Recommender, events: int, users: int, k: int) -> int:
    """Estimate the memory of scoring one shard, besides the weights.

    Args:
        model: a fitted recommender.
        events: of the shard.
        users: of the shard.
        k: items for each.
    """
    catalogue = len(model.vocabulary)
    block = min(max(SCORES_PER_BLOCK, catalogue), users * catalogue)
    width = getattr(model, "dim", 64)
    read = min(POSITIONS_PER_BATCH, events) * width
    return events * 100 + users * min(k, catalogue) * 60 + block * 4 * 3 + read * 4 * 16
