"""Not worse by the margin: what passes, what does not, and how often by chance."""

import numpy as np
import polars as pl
import pytest

from modicum.errors import DataError, SettingError
from modicum.evaluation.noninferiority import not_worse
from modicum.evaluation.report import Report


def report(values: np.ndarray, **protocol) -> Report:
    users = {"user": range(len(values)), "stratum": "all", "queries": 1, "ndcg@10": values}
    return Report(pl.DataFrame(users), coverage={}, protocol=protocol)


def drawn(rng: np.random.Generator, users: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return values of a live model, and of one whose true mean is ``share`` of the live one's."""
    rate, rank = rng.beta(1, 4, users), 1 / np.log2(rng.integers(2, 12, users))
    both, own = rng.random(users) < 0.8 * rate, 0.2 * rate
    live, new = (both | (rng.random(users) < own) for _ in range(2))
    return live * rank, (new & (rng.random(users) < share)) * rank


def test_a_model_worse_by_the_margin_seldom_passes_and_a_better_one_does():
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(120):
        live, new = drawn(rng, 300, share=0.9)
        passed += not_worse(report(new), report(live), margin=0.1).ok
    assert passed <= 8  # 3 are meant
    live = rng.random(500) * (rng.random(500) < 0.3)
    assert not_worse(report(live * 1.02), report(live), margin=0.0).ok
    assert not not_worse(report(live * 0.97), report(live), margin=0.02).ok
    assert not_worse(report(live * 0.99), report(live), margin=0.02).ok


def test_few_users_are_not_enough():
    rng = np.random.default_rng(1)
    live = rng.random(99)
    verdict = not_worse(report(live + 1), report(live), margin=0.0)
    assert verdict.bound > 0 and not verdict.enough and not verdict.ok
    assert verdict.figures["n"] == 99 and "not above" in str(verdict)


def test_two_models_that_hit_nothing_are_no_reason_to_switch():
    nothing = report(np.zeros(500))
    assert not not_worse(nothing, nothing, margin=0.5).ok


def test_what_cannot_be_compared_is_refused():
    values = np.linspace(0, 1, 200)
    with pytest.raises(SettingError, match="margin=1"):
        not_worse(report(values), report(values), margin=1)
    with pytest.raises(DataError, match="test from"):
        not_worse(
            report(values, **{"test from": "a"}), report(values, **{"test from": "b"}), margin=0.1
        )
