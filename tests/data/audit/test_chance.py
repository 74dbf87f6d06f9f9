from __future__ import annotations

import math

import numpy as np

from modicum.data.audit import chance


def test_normal_distribution_function():
    z = np.linspace(-6, 6, 101)
    exact = [0.5 * (1 + math.erf(x / math.sqrt(2))) for x in z]
    np.testing.assert_allclose(chance.normal(z), exact, atol=1e-7)


def test_probabilities_are_bounds_of_the_poisson_tail():
    mean = 12.0
    mass = [math.exp(-mean) * mean**n / math.factorial(n) for n in range(100)]
    for count in range(30):
        few, many = sum(mass[: count + 1]), sum(mass[count:])
        assert 10 ** chance.log10_probability_of_so_few(count, mean) >= few - 1e-12
        assert 10 ** chance.log10_probability_of_so_many(count, mean) >= many - 1e-12
