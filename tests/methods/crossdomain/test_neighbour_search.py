"""Neighbours: the nearest keys, whatever the blocks, and what they lend."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.errors import BundleError
from modicum.methods.crossdomain import neighbour_search as room
from modicum.methods.crossdomain.neighbour_search import Neighbours


def some(users: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keys and vectors."""
    return tuple(torch.randn(2, users, 4, generator=torch.Generator().manual_seed(0)))


def index(users: int, *, k: int = 3) -> Neighbours:
    made = Neighbours(2, 4, k=k, temperature=0.2)
    made.keep(1, *some(users))
    return made


QUERIES = torch.randn(5, 4, generator=torch.Generator().manual_seed(9))


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 12))
def test_blocks_do_not_matter(users, k, block):
    whole = index(users, k=k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SIMILARITIES_PER_BLOCK", block * len(QUERIES))
        alike, at = whole.nearest(1, QUERIES)
    keys, centre = (whole.tensors()[name].numpy() for name in ("keys1", "centre1"))
    queries = QUERIES.numpy() - centre
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    by_hand = np.sort(queries @ keys.T, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(alike, by_hand, atol=1e-6)
    found = np.einsum("bd,bkd->bk", queries, keys[at.numpy()])
    np.testing.assert_allclose(found, by_hand, atol=1e-6)


def test_the_order_of_users_changes_nothing():
    one, other = index(20), index(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    other.keep(1, *(tensor[order] for tensor in some(20)))
    torch.testing.assert_close(one.lent(1, QUERIES), other.lent(1, QUERIES))


def test_what_all_keys_have_in_common_counts_for_nothing():
    """Keys that all point one way are told apart by what is left of them."""
    plain, (keys, vectors) = index(20), some(20)
    shifted, far = Neighbours(2, 4, k=3, temperature=0.2), torch.full((1, 4), 9.0)
    shifted.keep(1, keys + far, vectors)
    torch.testing.assert_close(
        shifted.lent(1, QUERIES + far), plain.lent(1, QUERIES), atol=1e-4, rtol=1e-4
    )


def test_what_is_kept_comes_back_and_can_be_forgotten():
    one, other = index(6), Neighbours(2, 4, k=3, temperature=0.2)
    other.load(one.tensors())
    torch.testing.assert_close(one.lent(1, QUERIES), other.lent(1, QUERIES), atol=0, rtol=0)
    assert (other.size(0), other.size(1)) == (0, 6) and not other.state_dict()
    other.forget()
    assert other.size(1) == 0
    for damage in ({"keys0": None}, {"vectors1": torch.empty(5, 4)}, {"keys1": torch.empty(6, 3)}):
        tensors = one.tensors() | damage
        with pytest.raises(BundleError, match="neighbours"):
            other.load({name: x for name, x in tensors.items() if x is not None})
