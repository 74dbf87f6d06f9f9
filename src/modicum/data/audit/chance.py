"""Chance: what the null models of the audit compute with."""

from __future__ import annotations

import math

import numpy as np


def normal(z: np.ndarray) -> np.ndarray:
    """Return the normal distribution function (Abramowitz and Stegun 26.2.17, error < 1e-7)."""
    t = 1 / (1 + 0.2316419 * np.abs(z))
    series = (0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
    tail = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    tail = tail * sum(a * t ** (power + 1) for power, a in enumerate(series))
    return np.where(z > 0, 1 - tail, tail)


def log10_probability_of_so_few(count: float, expected: float) -> float:
    """Return the Chernoff bound of ``P(Poisson(expected) <= count)`` as a power of ten."""
    if count >= expected:
        return 0.0
    rest = count * math.log(count / expected) if count else 0.0
    return -(expected - count + rest) / math.log(10)


def log10_probability_of_so_many(count: float, expected: float) -> float:
    """Return the Chernoff bound of ``P(Poisson(expected) >= count)`` as a power of ten."""
    if count <= expected or expected == 0:
        return 0.0
    return -(count * math.log(count / expected) - count + expected) / math.log(10)


def log_factorial(n: np.ndarray) -> np.ndarray:
    """Return ``log(n!)`` of each (n,) count."""
    table = np.cumsum(np.log(np.maximum(np.arange(n.max(initial=1) + 1), 1)))
    return table[n]
