"""Pseudo-sequences: what is proposed, and what must not be known or proposed."""

import numpy as np
import polars as pl
import pytest
import torch

from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_domains
from modicum.methods.crossdomain import pseudo_sequences
from modicum.methods.crossdomain.drawn_prefixes import DrawnPrefixes
from modicum.methods.crossdomain.pseudo_sequences import (
    LATEST,
    SHRINKAGE,
    PseudoSequences,
    interleave,
    nearest_items,
)
from modicum.training.processes import Processes

HISTORIES = Histories.from_log(simulate_domains(150, 12, overlap=0.7, seed=1).log)
DOMAINS = torch.tensor([-1, *HISTORIES.vocabulary.domains.tolist()])


def generator(histories: Histories = HISTORIES, size: int = 5, kind="count") -> PseudoSequences:
    torch.manual_seed(0)
    made = PseudoSequences(histories.num_items, 2, size)
    getattr(made, kind)(histories)
    return made


def some_items(rows: int = 200, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    items = rng.integers(1, HISTORIES.num_items + 1, (rows, 6))
    return torch.from_numpy(np.where(np.arange(6) < rng.integers(1, 7, (rows, 1)), items, 0))


def brute_force(histories: Histories, domain: int) -> np.ndarray:
    """Return (N + 1, N + 1) nearness of items to those of one domain."""
    num_items = histories.num_items
    had = np.zeros((histories.num_users, num_items + 1))
    back = histories.offsets[1:][histories.event_users] - np.arange(histories.num_events)
    recent = back <= LATEST
    had[histories.event_users[recent], histories.item_rows[recent]] = 1
    users = had.sum(0) + SHRINKAGE
    near = had.T @ had / np.sqrt(np.outer(users, users))
    np.fill_diagonal(near, 0)
    near[:, DOMAINS.numpy() != domain] = 0
    return near


@pytest.mark.parametrize("pairs", [1, 500, 2**23])
def test_neighbours_are_those_of_the_whole_matrix(monkeypatch, pairs):
    monkeypatch.setattr(pseudo_sequences, "PAIRS", pairs)
    neighbours, nearness, users = nearest_items(HISTORIES, 2, 4)
    assert users[1:].min() >= 1
    for domain in (0, 1):
        near = brute_force(HISTORIES, domain)
        best = -np.sort(-near, axis=1)[:, :4]
        at = neighbours[domain]
        found = np.take_along_axis(near, at.astype(np.int64), axis=1)
        np.testing.assert_allclose(found, best, atol=1e-6)
        np.testing.assert_allclose(nearness[domain], best, atol=1e-6)


@pytest.mark.parametrize("kind", ["count", "learn"])
def test_proposals_are_of_the_wanted_domain_and_new_to_the_user(kind):
    items, made = some_items(), generator(kind=kind)
    for domain in (0, 1):
        proposed = made(items, torch.full((len(items),), domain))
        assert (proposed > 0).any()
        assert (DOMAINS[proposed[proposed > 0]] == domain).all()
        for row, own in zip(proposed.tolist(), items.tolist(), strict=True):
            known = [item for item in row if item]
            assert len(known) == len(set(known)) and not set(known) & set(own)
            assert row == known + [0] * (len(row) - len(known))


def test_scores_add_up_over_a_history():
    size = HISTORIES.num_items
    items = torch.tensor([[1, 5, 0]])
    proposed = generator(size=size)(items, torch.tensor([1]))[0]
    near = brute_force(HISTORIES, 1)
    total = near[1] + near[5]
    total[[1, 5]] = 0
    expected = -np.sort(-total)[: len(proposed)]
    np.testing.assert_allclose(total[proposed[proposed > 0]], expected[expected > 0], atol=1e-6)


@pytest.mark.parametrize("kind", ["count", "learn"])
def test_pads_and_company_change_nothing(kind):
    items, made = some_items(), generator(kind=kind)
    domain = torch.arange(len(items)) % 2
    together = made(items, domain)
    padded = torch.nn.functional.pad(items, (0, 3))
    assert torch.equal(made(padded, domain), together)
    alone = [made(items[at : at + 1], domain[at : at + 1]) for at in range(len(items))]
    assert torch.equal(torch.cat(alone), together)


def test_what_was_never_counted_is_not_taken_out():
    """Of user 1 the latest events alone are counted, so that only user 2 had a and b together."""
    events = {"user": [1] * (LATEST + 2) + [2, 2], "item": ["a", "b", *["c"] * LATEST, "a", "b"]}
    histories = Histories.from_log(EventLog(pl.LazyFrame(events), "long"))
    row = {name: histories.vocabulary.rows([name])[0] for name in "abc"}
    made = PseudoSequences(3, 1, size=2)
    made.count(histories)
    windows = DrawnPrefixes(
        histories, per_window=99, length=60, counted=LATEST, batch_size=9, every=True, seed=0,
        processes=Processes(0, 1),
    )  # fmt: skip
    batch = windows.batch(np.array([1]))  # user 1's b, after a
    proposed = made(
        batch.items, batch.extra["domain"], batch.extra["later"], batch.extra["counted"]
    )
    assert proposed[0, 0] == row["b"]


def test_a_users_own_events_do_not_give_the_target_away():
    """Without user 3 nobody had a and c together: c is proposed from a only to others."""
    events = {"user": [1, 1, 2, 2, 3, 3], "item": list("abbcac")}
    histories = Histories.from_log(EventLog(pl.LazyFrame(events), "six"))
    row = {name: histories.vocabulary.rows([name])[0] for name in "abc"}
    made = PseudoSequences(3, 1, size=2)
    made.count(histories)
    asked = torch.tensor([[row["a"]]]), torch.tensor([0])
    assert set(made(*asked)[0].tolist()) == {row["b"], row["c"]}
    assert made(*asked, later=torch.tensor([[row["c"], 0]])).tolist() == [[row["b"], 0]]


def test_a_generator_that_counted_nothing_proposes_nothing():
    made = PseudoSequences(HISTORIES.num_items, 2, 5)
    assert made(some_items(), torch.zeros(200, dtype=torch.int64)).shape == (200, 0)
    one_each = EventLog(pl.LazyFrame({"user": [1, 2], "item": ["a", "b"]}), "two")
    alone = PseudoSequences(2, 1, 5)
    alone.count(Histories.from_log(one_each))
    assert not alone(torch.tensor([[1]]), torch.tensor([0])).any()


def test_true_events_keep_their_order_and_the_newest_comes_last():
    items = torch.tensor([[3, 4, 5, 6], [3, 0, 0, 0], [0, 0, 0, 0]])
    proposed = torch.tensor([[7, 8], [7, 8], [0, 0]])
    assert interleave(items, proposed).tolist() == [
        [3, 4, 8, 5, 7, 6],
        [8, 7, 3, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
