"""How well similarities tell people apart: TAR at FAR, DET curve, closed-set and open-set search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from modicum.errors import DataError
from modicum.evaluation.statistics import CONFIDENCE, RESAMPLES


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % bootstrap interval over people.

    Args:
        value, low, high: the share and its interval.
        n: pairs or probes that it is a share of.
        people: who were drawn with replacement.
        threshold: similarity from which a pair was accepted; null where there is none.
    """

    value: float
    low: float
    high: float
    n: int
    people: int
    threshold: float | None = None


def rate(
    hits: np.ndarray, people: np.ndarray, *, seed: int, threshold: float | None = None
) -> Rate:
    """Return the share of ``hits`` (n,), whose interval draws ``people`` (n,), not single rows.

    The threshold is held fast, so the interval is that of the share at this threshold.

    >>> rate(np.array([1, 1, 0, 1]), np.array(["a", "a", "b", "b"]), seed=0).value
    0.75
    """
    if not len(hits):
        raise DataError("there is nothing to take a share of: no pairs or probes of this kind")
    names, rows = np.unique(people, return_inverse=True)
    totals = np.bincount(rows).astype(float)
    sums = np.bincount(rows, hits.astype(float))
    drawn = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn @ sums / (drawn @ totals), [tail, 100 - tail])
    return Rate(float(hits.mean()), float(low), float(high), len(hits), len(names), threshold)


def threshold_at(impostors: np.ndarray, far: float) -> float:
    """Return the least similarity that at most a share ``far`` of impostor pairs reaches.

    Raises:
        DataError: there are too few pairs to tell that share.

    >>> threshold_at(np.arange(100.0), 0.05)
    95.0
    """
    accepted = int(far * len(impostors))
    if accepted < 1:
        raise DataError(
            f"a false-accept rate of {far:g} cannot be told from {len(impostors):,} impostor pairs; "
            "give more people or photos, or a higher rate"
        )
    return float(np.partition(impostors, len(impostors) - accepted)[len(impostors) - accepted])


@dataclass(frozen=True)
class Pairs:
    """All pairs of gallery and probes, as similarities of each kind.

    Args:
        genuine: (n,) of pairs of one person, never of one photo.
        people: (n,) who they are.
        impostor: (m,) of pairs of two.
    """

    genuine: np.ndarray
    people: np.ndarray
    impostor: np.ndarray

    @classmethod
    def of(cls, similarity: np.ndarray, gallery: pl.DataFrame, probes: pl.DataFrame) -> Pairs:
        """Take pairs apart.

        Args:
            similarity: (G, P); -inf where no face was found, which is a false reject and no
                impostor.
            gallery, probes: G and P rows with ``identity`` and ``source``; a photo is never paired
                with its own masked copy.
        """
        same = gallery["identity"].to_numpy()[:, None] == probes["identity"].to_numpy()[None]
        other = gallery["source"].to_numpy()[:, None] != probes["source"].to_numpy()[None]
        people = np.broadcast_to(probes["identity"].to_numpy(), same.shape)
        impostor = ~same & np.isfinite(similarity)
        return cls(similarity[same & other], people[same & other], similarity[impostor])

    def tar(self, far: float, *, seed: int = 0) -> Rate:
        """Return the true-accept rate at a false-accept rate."""
        threshold = threshold_at(self.impostor, far)
        return rate(self.genuine >= threshold, self.people, seed=seed, threshold=threshold)

    def det(self, fars: Sequence[float]) -> pl.DataFrame:
        """Return the DET curve: ``far`` and ``frr``, false accepts and false rejects."""
        thresholds = [threshold_at(self.impostor, far) for far in fars]
        rejected = [float((self.genuine < threshold).mean()) for threshold in thresholds]
        return pl.DataFrame({"far": list(fars), "frr": rejected, "threshold": thresholds})


def closed_set(similarity: np.ndarray, gallery: pl.DataFrame, probes: pl.DataFrame) -> np.ndarray:
    """Return (P,) whether the nearest of the gallery is the probe's person, own photos left out.

    Args:
        similarity, gallery, probes: as for :meth:`Pairs.of`.
    """
    own = gallery["source"].to_numpy()[:, None] == probes["source"].to_numpy()[None]
    others = np.where(own, -np.inf, similarity)
    named = gallery["identity"].to_numpy()[others.argmax(0)]
    found: np.ndarray = (named == probes["identity"].to_numpy()) & (others.max(0) > -np.inf)
    return found


def open_set(
    similarity: np.ndarray,
    gallery: pl.DataFrame,
    probes: pl.DataFrame,
    *,
    fpir: float = 0.01,
    seed: int = 0,
) -> Rate:
    """Return the share of known probes that are identified, at a share of unknown ones accepted.

    Args:
        similarity, gallery, probes: as for :meth:`Pairs.of`; people who are not in the gallery are
            unknown.
        fpir: share of unknown probes that may be taken for someone.
        seed: of the interval.

    Source: Grother and Ngan 2014 (FRVT), true-positive identification rate at a false-positive
    identification rate.
    """
    known = probes["identity"].is_in(gallery["identity"].unique().to_list()).to_numpy()
    best = similarity.max(0)
    threshold = threshold_at(best[~known], fpir)
    right = closed_set(similarity, gallery, probes) & (best >= threshold)
    people = probes["identity"].to_numpy()
    return rate(right[known], people[known], seed=seed, threshold=threshold)
