"""Searches find what a full sort finds; an approximate one as much as it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import ResourceError, SettingError
from modicum.serving.search import head, inverted, searching
from modicum.serving.search.inverted import Inverted
from modicum.serving.search.scan import Scan

NOTHING = np.empty(0, dtype=np.int64)


def sorted_out(items, user, wanted, left_out=NOTHING):
    """Return positions and scores of the best items, by sorting all of them."""
    scores = (items.astype(np.float64) * user.astype(np.float64)).sum(1).astype(np.float32)
    offered = np.setdiff1d(np.arange(len(items)), left_out)
    first = offered[np.lexsort((offered, -scores[offered]))][:wanted]
    return first, scores[first]


def require_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def vectors(number, width, seed=0, kind="normal"):
    random = np.random.default_rng(seed)
    if kind == "grid":  # many equal scores
        return random.integers(-2, 3, (number, width)).astype(np.float32)
    if kind == "skewed":  # some dimensions are a thousand times wider, and none is about zero
        scales = 10.0 ** random.uniform(-2, 1, width)
        return (random.lognormal(size=(number, width)) * scales + 5).astype(np.float32)
    return random.standard_normal((number, width)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(1, 3_000),
    width=st.sampled_from([1, 2, 7, 16]),
    kind=st.sampled_from(["normal", "grid", "skewed"]),
    users=st.integers(1, 6),
    wanted=st.integers(1, 40),
    share_out=st.sampled_from([0.0, 0.01, 0.9, 1.0]),
    seed=st.integers(0, 99),
)
def test_a_scan_is_a_full_sort(number, width, kind, users, wanted, share_out, seed):
    items = vectors(number, width, seed, kind)
    asked = vectors(users, width, seed + 1, "grid" if kind == "grid" else "normal")
    out = np.random.default_rng(seed).choice(number, int(share_out * number), replace=False)
    found = Scan(items).best(asked, np.arange(wanted, wanted + users), [out] * users)
    for at, user in enumerate(asked):
        require_same(found[at], sorted_out(items, user, wanted + at, out))


@pytest.mark.parametrize(
    "items",
    [
        np.zeros((50, 4)),
        np.ones((5_000, 3)),
        np.array([[1e30, 0], [1e-30, 1e-30], [-1e30, 2]]),
        np.array([[1.0, 1.0 + 2**-23], [1.0 + 2**-23, 1.0]]),
        np.outer(np.linspace(-1, 1, 3_000), [3.0, -2.0]),
    ],
)
def test_a_scan_of_odd_items_is_a_full_sort(items):
    items = items.astype(np.float32)
    users = vectors(5, items.shape[1])
    users[0] = 0
    found = Scan(items).best(users, np.full(5, 7), [NOTHING] * 5)
    for user, own in zip(users, found, strict=True):
        require_same(own, sorted_out(items, user, 7))


def test_no_sum_of_products_is_cut_off():
    """Without instructions for bytes, processors add pairs of products in 16 bits."""
    items = np.where(np.arange(64)[:, None] % 2, 1.0, -1.0) * np.ones((64, 32))
    items = np.concatenate([items, vectors(2_000, 32) / 10]).astype(np.float32)
    users = np.concatenate([np.ones((1, 32)), -np.ones((1, 32)), vectors(6, 32)])
    found = Scan(items).best(users.astype(np.float32), np.full(8, 40), [NOTHING] * 8)
    for user, own in zip(users.astype(np.float32), found, strict=True):
        require_same(own, sorted_out(items, user, 40))


def leaning(number, width, seed=0):
    """Items that vary in some directions more than in others, about a point far from zero."""
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.standard_normal((width, width)))
    points = random.standard_normal((number, width)) * 0.7 ** np.arange(width)
    return (points @ axes.T + 3).astype(np.float32), axes.T.astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    number=st.integers(2_049, 12_000),
    width=st.sampled_from([24, 33]),
    wanted=st.integers(1, 200),
    share_out=st.sampled_from([0.0, 0.01, 0.99, 1.0]),
    along=st.integers(0, 7),
    seed=st.integers(0, 99),
)
def test_a_scan_that_reads_part_of_each_item_is_a_full_sort(
    number, width, wanted, share_out, along, seed
):
    items, axes = leaning(number, width, seed)
    scan = Scan(items, vectors(50, width, seed + 1))
    assert scan._head is not None
    out = np.random.default_rng(seed).choice(number, int(share_out * number), replace=False)
    for user in (vectors(1, width, seed)[0], axes[along], axes[-1], 1e-6 * axes[0]):
        (found,) = scan.best(user[None], np.array([wanted]), [out])
        require_same(found, sorted_out(items, user, wanted, out))


def test_part_of_each_item_leaves_few_for_most_users_and_gives_up_for_others(monkeypatch):
    monkeypatch.setattr(head, "LARGEST_BLOCK", 2_048)
    items, axes = leaning(20_000, 32)
    scan = Scan(items, vectors(500, 32))
    few = scan._head.candidates(
        axes[0], 10, NOTHING, lambda positions: scan.scores(positions, axes[0])
    )
    best, _ = sorted_out(items, axes[0], 10)
    assert set(best) <= set(few) and len(few) < 200
    beyond = axes[-1]  # of which nothing is read
    assert scan._head.candidates(beyond, 10, NOTHING, lambda at: scan.scores(at, beyond)) is None
    (found,) = scan.best(beyond[None], np.array([10]), [NOTHING])
    require_same(found, sorted_out(items, beyond, 10))


def test_items_that_vary_evenly_are_read_whole():
    assert Scan(vectors(5_000, 16), vectors(500, 16, seed=1))._head is None


def test_a_user_in_a_batch_gets_what_it_gets_alone():
    items, users = vectors(5_000, 24), vectors(150, 24, seed=1)
    outs = [np.random.default_rng(at).integers(0, 5_000, at) for at in range(150)]
    scan = Scan(items)
    together = scan.best(users, np.full(150, 10), outs)
    for at in (0, 3, 63, 64, 149):
        (alone,) = scan.best(users[at : at + 1], np.array([10]), [outs[at]])
        require_same(alone, together[at])


def test_what_does_not_fit_is_said_before_it_is_made(monkeypatch):
    monkeypatch.setattr(searching, "free_memory", lambda: 1_000)
    with pytest.raises(ResourceError, match="GiB are free"):
        Scan(vectors(1_000, 8))
    monkeypatch.setattr(searching, "free_memory", lambda: None)
    Scan(vectors(1_000, 8))


@pytest.fixture(scope="module")
def clustered():
    """Items in directions that an inverted file can sort by, and users like them."""
    pytest.importorskip("faiss", reason="approximate search needs the extra [serve]")
    centres = vectors(40, 16, seed=2)
    near = np.random.default_rng(3).integers(0, 40, 20_400)
    points = centres[near] + 0.3 * vectors(20_400, 16, seed=4)
    return points[:20_000], points[20_000:]


def test_recall_is_at_least_what_was_asked_for(clustered):
    items, users = clustered
    search = Inverted(items, users[:200], recall=0.9)
    assert 0.9 <= search.recall < 1 and not search.is_exact
    assert search.probes < search.num_lists / 8
    assert f"{search.recall:.3f} on 200 users" in search.description
    others = users[200:]
    found = search.best(others, np.full(200, 10), [NOTHING] * 200)
    hits = [
        len(set(own[0].tolist()) & set(sorted_out(items, user, 10)[0].tolist()))
        for user, own in zip(others, found, strict=True)
    ]
    assert np.mean(hits) / 10 == pytest.approx(search.recall, abs=0.04)
    for user, (positions, scores) in zip(others, found, strict=True):
        require_same(
            (positions, scores), sorted_out(items, user, 10, np.setdiff1d(range(20_000), positions))
        )


def test_whatever_is_left_out_the_wanted_number_comes(clustered):
    items, users = clustered
    search = Inverted(items, users[:100], recall=0.9)
    best, _ = sorted_out(items, users[0], 19_000)
    wanted = np.array([10, 10, 10])
    found = search.best(users[[0, 0, 1]], wanted, [best[:500], best, NOTHING])
    for (positions, _), out in zip(found, (best[:500], best, NOTHING), strict=True):
        assert len(positions) == 10 and not set(positions.tolist()) & set(out.tolist())
    require_same(found[1], sorted_out(items, users[0], 10, best))
    (few,) = search.best(users[:1], np.array([10]), [np.arange(19_997)])
    assert sorted(few[0].tolist()) == [19_997, 19_998, 19_999]


def test_a_recall_that_reads_nearly_all_is_served_exactly(clustered, monkeypatch):
    items, users = clustered
    monkeypatch.setattr(inverted, "MOST_READ", 0)
    search = Inverted(items, users[:50], recall=0.9)
    assert search.is_exact and "exact" in search.description and "no faster" in search.description
    (found,) = search.best(users[:1], np.array([10]), [NOTHING])
    require_same(found, sorted_out(items, users[0], 10))


@pytest.mark.parametrize("recall", [0, 1, 1.5, -1])
def test_a_recall_that_cannot_be_is_refused(clustered, recall):
    with pytest.raises(SettingError, match="recall"):
        Inverted(clustered[0], clustered[1], recall=recall)
