"""Averages over training seeds against numpy."""

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from modicum.errors import DataError
from modicum.evaluation.evaluate import evaluate
from modicum.evaluation.report import Report
from modicum.evaluation.seeds import average_over_seeds


@pytest.fixture(scope="module")
def seeds(parts, scorer):
    def scores(seed):
        return lambda queries, _: np.random.default_rng(seed).random(
            (len(queries), queries.histories.num_items)
        )

    return [evaluate(scorer("chance", scores(seed)), parts.test) for seed in range(3)]


def test_users_get_the_mean_of_their_values(seeds):
    average = average_over_seeds(seeds)
    values = [report.per_stratum["ndcg@10"].to_numpy() for report in seeds]
    np.testing.assert_allclose(average.per_stratum["ndcg@10"], np.mean(values, axis=0))
    assert average.protocol["training seeds"] == 3


def test_the_spread_of_the_seeds_is_kept(seeds, tmp_path):
    average = average_over_seeds(seeds)
    assert average.summary.columns[-1] == "seed_sd"
    for metric, stratum, _, _, _, _, spread in average.summary.iter_rows():
        if metric.startswith("coverage"):
            means = [report.coverage[metric] for report in seeds]
        else:
            means = [report.values(stratum)[metric].mean() for report in seeds]
        assert spread == pytest.approx(np.std(means, ddof=1), abs=1e-12)
    assert "sd of seeds" in str(average)
    assert_frame_equal(Report.load(average.save(tmp_path)).summary, average.summary)


def test_only_seeds_of_one_method_are_averaged(seeds, parts, popular, chance):
    with pytest.raises(DataError, match="model: chance and popular"):
        average_over_seeds([*seeds, evaluate(popular, parts.test)])
    with pytest.raises(DataError, match="k: "):
        average_over_seeds([seeds[0], evaluate(chance, parts.test, k=1)])
    with pytest.raises(DataError, match="two reports"):
        average_over_seeds(seeds[:1])
