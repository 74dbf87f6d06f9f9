"""Scores belong to a history: padding, company and the way they are asked for change nothing."""

import numpy as np
import polars as pl
import pytest
import torch

from modicum.data.windows import input_starts
from modicum.methods.network import CausalNetwork
from modicum.methods.recommender import Recommender
from modicum.training.batches import Batch

from .conftest import NUM_ITEMS


def scores_of(model: Recommender, items: list[list[int]]) -> torch.Tensor:
    network = model.fitted_network
    with torch.inference_mode():
        return network.scores(network.encode(Batch.of(np.array(items))))


def table(top: pl.DataFrame) -> np.ndarray:
    """Return the scores as (queries, items), items in the order of their ids."""
    wide = top.sort("query", "item")["score"].to_numpy()
    return wide.reshape(top["query"].n_unique(), -1)


def histories_of(parts, number: int = 40) -> list[list[str]]:
    """Return histories of all lengths, as the test queries have them."""
    queries = parts.test
    names = queries.histories.vocabulary.names(queries.histories.item_rows).to_list()
    bounds = zip(queries.starts[:number], queries.targets[:number], strict=True)
    return [names[start:end] for start, end in bounds]


def test_padding_changes_nothing(model):
    plain = scores_of(model, [[3, 7, 5]])
    for padded in ([0, 3, 7, 5], [0, 0, 0, 0, 0, 3, 7, 5], [3, 7, 5, 0], [3, 7, 5, 0, 0, 0, 0, 0]):
        torch.testing.assert_close(scores_of(model, [padded]), plain, atol=1e-5, rtol=0)


def test_rows_of_a_batch_do_not_see_each_other(model):
    together = scores_of(model, [[3, 7, 5, 2, 9], [0, 0, 0, 0, 4], [1, 2, 0, 0, 0]])
    for row, alone in enumerate([[3, 7, 5, 2, 9], [4], [1, 2]]):
        torch.testing.assert_close(together[row], scores_of(model, [alone])[0], atol=1e-5, rtol=0)


def test_many_histories_get_what_each_gets_alone(model, parts):
    histories = histories_of(parts)
    k = len(model.vocabulary)
    together = table(model.recommend(histories, k=k, exclude_seen=False))
    alone = [table(model.recommend([h], k=k, exclude_seen=False))[0] for h in histories]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommend_is_the_ranking_that_evaluation_judges(model, parts, exclude_seen):
    queries = parts.test
    assert (queries.targets - queries.starts > 2 * model.length).any()
    ranking = model.rank(queries, 5, exclude_seen=exclude_seen)
    k = len(model.vocabulary)
    histories = histories_of(parts, len(queries))
    lists = model.recommend(histories, k=k, exclude_seen=exclude_seen)
    by_query = {key[0]: frame for key, frame in lists.group_by("query", maintain_order=True)}
    targets = queries.histories.vocabulary.names(queries.target_rows).to_list()
    for query, target in enumerate(targets):
        shown = by_query.get(query)
        own = None if shown is None else shown.filter(pl.col("item") == target)["score"]
        if own is None or own.is_empty():
            assert np.isinf(ranking.ranks[query])
            continue
        above = (shown["score"] > own[0]).sum()
        tied = (shown["score"] == own[0]).sum()
        assert ranking.ranks[query] == above + (tied + 1) / 2
        top = model.vocabulary.names(ranking.top[query])
        best = top.to_frame("item").join(shown, on="item", maintain_order="left")["score"]
        assert best.to_list() == shown["score"].to_list()[:5]


def test_ranking_among_all_candidates_is_the_full_ranking(model, parts):
    queries = parts.test
    everything = np.tile(np.arange(1, queries.histories.num_items + 1), (len(queries), 1))
    np.testing.assert_array_equal(
        model.rank(queries, 5, candidates=everything).ranks, model.rank(queries, 5).ranks
    )


def test_an_unknown_or_seen_target_ranks_at_infinity(model, parts):
    queries = parts.test
    names = queries.histories.vocabulary.ids.to_list()
    seen = np.array(
        [
            queries.histories.item_rows[target] in queries.histories.item_rows[start:target]
            for start, target in zip(queries.starts, queries.targets, strict=True)
        ]
    )
    unknown = model.vocabulary.rows([names[row - 1] for row in queries.target_rows]) < 1
    assert (seen & ~unknown).any()
    np.testing.assert_array_equal(np.isinf(model.rank(queries, 1).ranks), seen | unknown)
    np.testing.assert_array_equal(
        np.isinf(model.rank(queries, 1, exclude_seen=False).ranks), unknown
    )


def test_a_causal_state_is_the_encoding_of_its_prefix(model):
    network = model.fitted_network
    if isinstance(network, CausalNetwork):
        items = np.array([[3, 7, 5, 2, 9, 1], [4, 4, 8, 0, 0, 0]])
        with torch.inference_mode():
            states = network.states(Batch.of(items))
            for position in range(3):
                prefix = network.encode(Batch.of(items[:, : position + 1]))
                torch.testing.assert_close(states[:, position], prefix, atol=1e-5, rtol=0)


def test_long_histories_are_read_from_where_the_window_begins(model):
    rng = np.random.default_rng(0)
    for length in (model.length + 1, 2 * model.length + 3):
        history = model.vocabulary.names(rng.integers(1, NUM_ITEMS, length)).to_list()
        begin = int(input_starts(np.array([0]), np.array([length]), model.length)[0])
        whole, window = (
            table(model.recommend([h], k=NUM_ITEMS, exclude_seen=False))
            for h in (history, history[begin:])
        )
        np.testing.assert_allclose(whole, window, atol=1e-5)


def test_save_and_load_give_identical_scores(model, reloaded, parts):
    histories = histories_of(parts)
    asked = {"k": NUM_ITEMS, "exclude_seen": False}
    assert reloaded.recommend(histories, **asked).equals(model.recommend(histories, **asked))
    np.testing.assert_array_equal(
        reloaded.rank(parts.test, 5).ranks, model.rank(parts.test, 5).ranks
    )
