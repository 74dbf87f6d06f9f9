"""Metrics of single queries against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.evaluation.metrics import coverage, ranking_metrics

RANKS = np.array([1.0, 2.0, 3.0, 7.0, 11.0, np.inf])


def test_values_by_hand():
    values = ranking_metrics(RANKS, [1, 5, 10])
    assert list(values) == ["hr@1", "hr@5", "hr@10", "ndcg@1", "ndcg@5", "ndcg@10", "mrr"]
    assert values["hr@1"].tolist() == [1, 0, 0, 0, 0, 0]
    assert values["hr@5"].tolist() == [1, 1, 1, 0, 0, 0]
    assert values["hr@10"].tolist() == [1, 1, 1, 1, 0, 0]
    assert values["ndcg@1"].tolist() == values["hr@1"].tolist()
    np.testing.assert_allclose(values["ndcg@5"], [1, 0.63092975, 0.5, 0, 0, 0])
    np.testing.assert_allclose(values["ndcg@10"], [1, 0.63092975, 0.5, 1 / 3, 0, 0])
    np.testing.assert_allclose(values["mrr"], [1, 1 / 2, 1 / 3, 1 / 7, 1 / 11, 0])


def test_a_tied_target_counts_at_its_expected_rank():
    values = ranking_metrics(np.array([1.5]), [1, 2])
    assert values["hr@1"].tolist() == [0]
    assert values["hr@2"].tolist() == [1]
    assert values["ndcg@2"][0] == pytest.approx(1 / np.log2(2.5))
    assert values["mrr"][0] == pytest.approx(2 / 3)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=20))
def test_metrics_are_shares_and_grow_with_k(ranks):
    values = ranking_metrics(np.array(ranks), [1, 5, 10])
    assert all(((value >= 0) & (value <= 1)).all() for value in values.values())
    for metric in ("hr", "ndcg"):
        assert (values[f"{metric}@1"] <= values[f"{metric}@5"]).all()
        assert (values[f"{metric}@5"] <= values[f"{metric}@10"]).all()
    assert (values["ndcg@10"] <= values["hr@10"]).all()


def test_coverage_counts_items_once_and_no_padding():
    top = np.array([[1, 2, 3], [1, 3, 0], [4, 0, 0]])
    assert coverage(top, 8, [1, 2, 3]) == {
        "coverage@1": 2 / 8,
        "coverage@2": 4 / 8,
        "coverage@3": 4 / 8,
    }
