"""Intervals and paired tests over users, as array programs of bounded memory."""

from __future__ import annotations

import numpy as np

RESAMPLES = 1_000
"""Bootstrap samples of an interval."""

FLIPS = 10_000
"""Random sign patterns of a test, unless told; with fewer possible ones, all are tried."""

CONFIDENCE = 0.95

_CELLS = 1 << 20
"""Random numbers held at a time; at least one sample of all users is."""


def bootstrap_interval(
    values: np.ndarray, *, seed: int, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % percentile bootstrap interval of each column's mean.

    Users are drawn with replacement; how often each is drawn is a multinomial weight, shared by
    all columns. Where all users have the same value the interval has no width, which is honest
    about the sample but not about the population.

    Args:
        values: (n, M) one row per user, one column per metric.
        seed: of the random draws.
        resamples: number of bootstrap samples.

    Returns:
        low (M,) and high (M,); NaN for fewer than two users.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13.

    >>> low, high = bootstrap_interval(np.arange(100.0)[:, None], seed=0)
    >>> bool(low[0] < 49.5 < high[0])
    True
    """
    n, columns = values.shape
    if n < 2:
        return np.full(columns, np.nan), np.full(columns, np.nan)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    step = max(1, _CELLS // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        means[start : start + size] = weights.astype(np.float64) @ values / n
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def sign_flip_test(differences: np.ndarray, *, seed: int, flips: int = FLIPS) -> np.ndarray:
    """Return the two-sided p-value of each column's mean difference between paired values.

    If the pairs do not differ but by chance, every difference might as well have the other sign:
    p is the share of sign patterns whose mean is at least as far from 0 as the observed one.
    With at most ``flips`` patterns all are enumerated and p is exact; otherwise ``flips`` random
    ones are drawn, and the observed one counts among them, so that p is never 0.

    Args:
        differences: (n, M) one row per user; columns share the sign patterns.
        seed: of the random patterns.
        flips: number of random patterns.

    Source: Phipson and Smyth, Permutation P-values should never be zero, 2010.

    >>> sign_flip_test(np.array([[1.0], [2.0], [3.0]]), seed=0)
    array([0.25])
    """
    differences = differences[differences.any(axis=1)]  # the sign of 0 does not matter
    n, columns = differences.shape
    total = differences.sum(axis=0)
    # Sums that are equal but for rounding count as equal.
    bound = np.abs(total) - 1e-9 * np.abs(differences).sum(axis=0)
    if n < 63 and 2**n <= flips:
        negative = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        exact = np.abs(total - 2 * negative @ differences) >= bound
        return exact.mean(axis=0)
    generator = np.random.default_rng(seed)
    extreme = np.ones(columns)
    step = max(1, _CELLS // n)
    for start in range(0, flips, step):
        size = min(step, flips - start)
        packed = generator.integers(0, 256, (size, -(-n // 8)), dtype=np.uint8)
        negative = np.unpackbits(packed, axis=1, count=n).astype(np.float64)
        extreme += (np.abs(total - 2 * (negative @ differences)) >= bound).sum(axis=0)
    return extreme / (1 + flips)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for having made all these tests, by Holm's step-down method.

    Args:
        p: (T,) p-values; NaN for tests that were not made, which do not count.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(4)
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    made = np.count_nonzero(~np.isnan(p))
    steps = np.maximum.accumulate((made - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def effect_size(differences: np.ndarray) -> np.ndarray:
    """Return Cohen's d_z of each column: mean difference by standard deviation of differences.

    Args:
        differences: (n, M) one row per user.

    Returns:
        (M,); 0 where nothing differs, NaN where all users differ by the same amount.

    Source: Cohen, Statistical power analysis for the behavioral sciences, 1988.

    >>> effect_size(np.array([[1.0, 0.0], [3.0, 0.0]])).round(4)
    array([1.4142, 0.    ])
    """
    mean = differences.mean(axis=0)
    spread = np.ptp(differences, axis=0)
    deviation = np.std(differences, axis=0, ddof=1) if len(differences) > 1 else spread
    undefined = np.where(mean == 0, 0.0, np.nan)
    return np.divide(mean, deviation, out=undefined, where=spread > 0)
