"""Intervals cover what they should, tests reject as often as they say."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.evaluation import statistics
from modicum.evaluation.statistics import bootstrap_interval, effect_size, holm, sign_flip_test


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda generator, shape: generator.normal(3.0, 2.0, shape), 3.0),
        (lambda generator, shape: generator.random(shape) < 0.3, 0.3),
    ],
    ids=["normal", "bernoulli"],
)
def test_intervals_cover_the_true_mean_about_95_times_in_100(draw, mean):
    values = draw(np.random.default_rng(0), (120, 800)).astype(float)
    low, high = bootstrap_interval(values, seed=1, resamples=500)
    assert 0.92 < ((low <= mean) & (mean <= high)).mean() < 0.97


def test_interval_width_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(size=(2000, 1))
    low, high = bootstrap_interval(values, seed=0, resamples=4000)
    expected = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert (high - low)[0] == pytest.approx(expected, rel=0.05)


def test_intervals_are_seeded_and_do_not_depend_on_the_memory_at_hand(monkeypatch):
    values = np.random.default_rng(0).random((50, 2))
    whole = bootstrap_interval(values, seed=3, resamples=100)
    monkeypatch.setattr(statistics, "_CELLS", 7 * 50)
    np.testing.assert_allclose(bootstrap_interval(values, seed=3, resamples=100), whole)
    assert not np.allclose(bootstrap_interval(values, seed=4, resamples=100), whole)


def test_a_single_user_has_no_interval():
    assert np.isnan(bootstrap_interval(np.array([[1.0]]), seed=0)).all()


@pytest.mark.parametrize("n", [1, 2, 5, 9, 13])
def test_few_users_are_tested_exactly(n):
    differences = np.random.default_rng(n).integers(-3, 4, (n, 2)).astype(float)
    signs = np.array(list(product([1, -1], repeat=n)))
    expected = (np.abs(signs @ differences) >= np.abs(differences.sum(axis=0))).mean(axis=0)
    np.testing.assert_allclose(sign_flip_test(differences, seed=0), expected)


def test_users_without_a_difference_do_not_change_p():
    differences = np.random.default_rng(0).normal(0.2, 1, (30, 2))
    padded = np.insert(differences, [3, 17, 17], 0.0, axis=0)
    np.testing.assert_array_equal(
        sign_flip_test(padded, seed=0), sign_flip_test(differences, seed=0)
    )


def test_random_patterns_approach_the_exact_p():
    differences = np.random.default_rng(5).normal(0.3, 1, (12, 1))
    exact = sign_flip_test(differences, seed=0)
    drawn = sign_flip_test(differences, seed=0, flips=4000)
    assert drawn[0] == pytest.approx(exact[0], abs=0.03)


def test_p_is_uniform_where_nothing_differs():
    differences = np.random.default_rng(0).normal(size=(60, 1500))
    p = sign_flip_test(differences, seed=1, flips=999)
    for level in (0.05, 0.25, 0.5, 0.75):
        assert (p <= level).mean() == pytest.approx(level, abs=0.03)


def test_p_is_never_zero_and_one_for_equal_models():
    differences = np.column_stack([np.ones(100), np.zeros(100)])
    p = sign_flip_test(differences, seed=0, flips=99)
    np.testing.assert_allclose(p, [0.01, 1.0])


def test_the_sign_of_the_difference_does_not_matter():
    differences = np.random.default_rng(0).normal(0.1, 1, (80, 3))
    np.testing.assert_array_equal(
        sign_flip_test(differences, seed=0), sign_flip_test(-differences, seed=0)
    )


def test_holm_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, 0.6])), [1, 1])


def test_holm_leaves_out_tests_that_were_not_made():
    p = np.array([0.01, np.nan, 0.03])
    np.testing.assert_allclose(holm(p), [0.02, np.nan, 0.03])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni(p):
    p = np.array(p)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * p) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_effect_size_by_hand():
    differences = np.array([[1.0, 0.0, 2.0], [2.0, 0.0, 2.0], [3.0, 0.0, 2.0]])
    np.testing.assert_allclose(effect_size(differences), [2.0, 0.0, np.nan])
