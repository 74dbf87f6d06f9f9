"""How often the rule of ``modicum watch`` promotes a model that is worse by the margin, or as good.

    python experiments/promotion_rule.py

Users have four queries each and a hit rate of their own, 20 % in the mean (Beta(1, 4)); a hit stands
at any of ten ranks. The live model and a good new one share four fifths of their hits. The worse one
is the same, with hits dropped at random as the margin says.
"""

from __future__ import annotations

import numpy as np

from modicum.evaluation.statistics import bootstrap_interval

QUERIES, RESAMPLES = 4, 400
GAINS = 1 / np.log2(np.arange(2, 12))


def promoted(rng: np.random.Generator, users: int, margin: float) -> tuple[bool, bool]:
    """Return whether a model worse by the margin, and one as good, are promoted in one drawn world."""
    shape = (users, QUERIES)
    rate = rng.beta(1, 4, (users, 1))
    gains = GAINS[rng.integers(0, 10, shape)]
    shared = rng.random(shape) < rate * 0.8

    def hits() -> np.ndarray:
        return shared | (rng.random(shape) < rate * 0.2)

    live = (hits() * gains).mean(1)
    worse = ((hits() & (rng.random(shape) < 1 - margin)) * gains).mean(1)
    good = (hits() * gains).mean(1)
    worst, level = (
        bootstrap_interval((new - (1 - margin) * live)[:, None], seed=0, resamples=RESAMPLES)[0][0]
        for new in (worse, good)
    )
    return bool(worst > 0), bool(level > 0)


def main() -> None:
    rng = np.random.default_rng(0)
    for users in (50, 100, 300, 1000):
        for margin in (0.02, 0.05, 0.1):
            worse, good = np.mean([promoted(rng, users, margin) for _ in range(1000)], axis=0)
            print(f"{users:>5} users, margin {margin:.2f}: worse {worse:.1%}, as good {good:.1%}")


if __name__ == "__main__":
    main()
