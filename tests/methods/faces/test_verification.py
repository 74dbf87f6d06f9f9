import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.errors import DataError
from modicum.methods.faces.verification import Pairs, closed_set, open_set, rate, threshold_at


def people(*names):
    sources = [f"{name}/{at}.jpg" for at, name in enumerate(names)]
    return pl.DataFrame({"identity": list(names), "source": sources})


def test_pairs_are_of_one_person_or_of_two_and_never_of_one_photo():
    faces = people("a", "a", "b")
    similarity = np.array([[9.0, 0.8, 0.1], [0.7, 9.0, 0.2], [0.3, 0.4, 9.0]])
    pairs = Pairs.of(similarity, faces, faces)
    assert sorted(pairs.genuine) == [0.7, 0.8] and pairs.people.tolist() == ["a", "a"]
    assert sorted(pairs.impostor) == [0.1, 0.2, 0.3, 0.4]


def test_tar_at_far_by_hand():
    pairs = Pairs(np.array([0.9, 0.5, 0.2]), np.array(["a", "a", "b"]), np.arange(10) / 20)
    found = pairs.tar(0.2)
    assert (found.threshold, found.n, found.people) == (0.4, 3, 2)
    assert found.value == pytest.approx(2 / 3) and found.low <= found.value <= found.high
    assert pairs.det([0.1, 0.2])["frr"].to_list() == pytest.approx([1 / 3, 1 / 3])


@given(st.integers(0, 100), st.floats(0.01, 0.5))
def test_a_threshold_accepts_no_more_impostors_than_was_asked_for(seed, far):
    impostors = np.random.default_rng(seed).normal(size=200)
    assert (impostors >= threshold_at(impostors, far)).mean() <= far


def test_too_few_pairs_are_refused():
    with pytest.raises(DataError, match=r"0\.001 cannot be told from 500 impostor pairs"):
        threshold_at(np.zeros(500), 1e-3)
    with pytest.raises(DataError, match="nothing to take a share of"):
        rate(np.array([]), np.array([]), seed=0)


def test_an_interval_is_over_people_not_rows():
    hits = np.repeat([1.0, 0.0], 500)
    by_two = rate(hits, np.repeat(["a", "b"], 500), seed=0)
    by_many = rate(hits, np.arange(1000).astype(str), seed=0)
    assert (by_two.low, by_two.high) == (0, 1)
    assert by_many.high - by_many.low < 0.1


def test_the_nearest_counts_but_for_the_own_photo():
    gallery, probes = people("a", "b"), people("a", "c")
    probes[0, "source"] = "a/0.jpg"
    similarity = np.array([[1.0, 0.2], [0.3, 0.1]])
    assert closed_set(similarity, gallery, probes).tolist() == [False, False]
    probes[0, "source"] = "a/9.jpg"
    assert closed_set(similarity, gallery, probes).tolist() == [True, False]


def test_open_set_counts_known_probes_above_the_threshold_of_unknown_ones():
    gallery = people("a", "b")
    probes = pl.DataFrame(
        {"identity": ["a", "b", "x", "y"], "source": ["a/7", "b/7", "x/7", "y/7"]}
    )
    similarity = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.4, 0.2, 0.2]])
    found = open_set(similarity, gallery, probes, fpir=0.5)
    assert (found.value, found.threshold, found.n) == (0.5, 0.5, 2)


def test_who_is_not_found_is_nobody():
    faces = people("a", "b")
    probes = faces.with_columns(source=pl.col("source") + ".masked")
    similarity = np.array([[-np.inf, 0.1], [-np.inf, 0.9]])
    assert closed_set(similarity, faces, probes).tolist() == [False, True]
