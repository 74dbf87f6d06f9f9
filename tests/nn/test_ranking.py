"""Ranks and best items, against sorting written out."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.nn.ranking import best_items, expected_ranks
from modicum.nn.table import ItemTable

scores_of_items = st.lists(
    st.sampled_from([0.0, 0.5, 1.0, 2.0, -3.0, -math.inf]), min_size=1, max_size=9
)


@given(scores_of_items)
def test_ranks_are_the_mean_place_over_all_orders_of_ties(scores):
    found = expected_ranks(
        torch.tensor([scores] * len(scores)), torch.arange(1, len(scores) + 1)
    ).tolist()
    places = sorted(scores, reverse=True)
    for own, rank in zip(scores, found, strict=True):
        at = [place for place, score in enumerate(places, start=1) if score == own]
        assert rank == (math.inf if own == -math.inf else sum(at) / len(at))


def test_no_target_has_no_rank():
    ranks = expected_ranks(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([0, 1]))
    assert ranks.tolist() == [math.inf, 2.0]


@given(scores_of_items, st.integers(1, 12))
def test_the_best_items_come_first_and_empty_places_last(scores, k):
    values, rows = best_items(torch.tensor([scores]), k)
    there = sorted((score for score in scores if score != -math.inf), reverse=True)[:k]
    missing = k - len(there)
    assert values[0].tolist() == there + [-math.inf] * missing
    assert (rows[0] > 0).tolist() == [True] * len(there) + [False] * missing
    assert [scores[row - 1] for row in rows[0].tolist() if row] == there
    in_order = sorted(range(len(scores)), key=lambda at: (-scores[at], at))[: len(there)]
    assert rows[0].tolist() == [at + 1 for at in in_order] + [0] * missing


def test_ties_go_to_the_lower_row_in_every_row_of_a_batch():
    scores = torch.randint(0, 4, (50, 300), generator=torch.Generator().manual_seed(0)).float()
    for k in (1, 7, 299, 300):
        values, rows = best_items(scores, k)
        ordered, at = scores.sort(dim=1, descending=True, stable=True)
        assert torch.equal(rows, at[:, :k] + 1) and torch.equal(values, ordered[:, :k])


def test_a_table_has_no_row_for_padding():
    table = ItemTable(4, 3)
    assert sum(parameter.numel() for parameter in table.parameters()) == 12
    items = torch.tensor([[1, 4], [2, 0]])
    assert torch.equal(table(items)[0], table.weight[[0, 3]])
    assert items.tolist() == [[1, 4], [2, 0]], "the question is left alone"
