import numpy as np
import pytest

from modicum.data.simulate import simulate_markov
from modicum.errors import DataError


def test_events_follow_the_chain():
    simulated = simulate_markov(2_000, 6, events_per_user=30, sharpness=1.5, seed=3)
    assert np.allclose(simulated.transitions.sum(axis=1), 1)
    frame = simulated.log.frame
    assert frame["time"].is_sorted() and frame["time"].n_unique() == len(frame)
    assert len(frame) == pytest.approx(60_000, rel=0.02)
    ordered = frame.sort("user", "time")
    user, item = ordered["user"].to_numpy(), ordered["item"].to_numpy()
    same = user[1:] == user[:-1]
    counts = np.zeros((6, 6))
    np.add.at(counts, (item[:-1][same], item[1:][same]), 1)
    assert np.diag(counts).sum() == 0
    share = counts / counts.sum(axis=1, keepdims=True)
    error = np.sqrt(simulated.transitions / counts.sum(axis=1, keepdims=True))
    assert (np.abs(share - simulated.transitions) <= 5 * error + 1e-12).all()


def test_the_seed_decides():
    one, same, other = (simulate_markov(20, 5, seed=seed).log.frame for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_arguments_out_of_range():
    with pytest.raises(DataError, match="num_items >= 2"):
        simulate_markov(1, 1, seed=0)
