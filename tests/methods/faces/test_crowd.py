import numpy as np
import pytest

from modicum.errors import DataError
from modicum.methods.faces.crowd import NEAREST, Crowd, set_against
from modicum.methods.faces.embeddings import Embeddings

DIM = 8


def faces(count, *, masked, seed):
    """Return embeddings in random directions, both readings different."""
    sides = np.random.default_rng(seed).normal(size=(2, count, DIM)).astype(np.float32)
    sides /= np.linalg.norm(sides, axis=2, keepdims=True)
    return Embeddings(*sides, np.full(count, masked))


def crowd_of(count, people, *, seed=0):
    """Return a crowd of so many bare and as many masked faces, dealt to people in turn."""
    parts = [faces(count, masked=masked, seed=seed + masked) for masked in (False, True)]
    return Crowd(np.tile(np.arange(count) % people, 2), Embeddings.joined(parts))


def test_a_face_stands_where_its_nearest_strangers_are_on_average():
    crowd = crowd_of(2 * NEAREST, 20)
    asked = faces(3, masked=False, seed=9)
    strangers = crowd.faces.take(crowd.faces.masked)
    expected = np.sort(asked.similarity(strangers, worn=True))[:, -NEAREST:].mean(1)
    np.testing.assert_allclose(crowd.standing(asked), expected, rtol=1e-6)


def test_a_bare_face_is_set_against_masked_ones_and_a_masked_face_against_bare_ones():
    crowd = crowd_of(30, 5)
    bare = faces(4, masked=False, seed=9)
    worn = Embeddings(bare.whole, bare.covered, np.full(4, True))
    both = crowd.standing(Embeddings.joined([bare, worn]))
    assert not np.allclose(both[:4], both[4:])
    swapped = Crowd(
        crowd.people, Embeddings(crowd.faces.whole, crowd.faces.covered, ~crowd.faces.masked)
    )
    np.testing.assert_allclose(swapped.standing(worn), both[:4], rtol=1e-6)


def test_no_face_is_set_against_its_own_person():
    crowd = crowd_of(30, 3)
    asked = faces(2, masked=False, seed=9)
    without = crowd.people != 1
    rest = Crowd(crowd.people[without], crowd.faces.take(without))
    found = crowd.standing(asked, np.array([1, 7]))
    np.testing.assert_allclose(found[0], rest.standing(asked)[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], crowd.standing(asked)[1], rtol=1e-6)
    assert found[0] != crowd.standing(asked)[0]


def test_a_face_that_was_not_found_has_no_standing():
    crowd, asked = crowd_of(10, 5), faces(3, masked=True, seed=9)
    asked.whole[1] = np.nan
    found = crowd.standing(asked)
    assert np.isnan(found).tolist() == [False, True, False]


def test_who_looks_like_all_is_held_to_be_like_each_by_less():
    similarity = np.array([[0.6, 0.5], [0.4, 0.5]])
    found = set_against(similarity, np.array([0.4, 0.1]), np.array([0.2, 0.2]))
    np.testing.assert_allclose(found, [[0.3, 0.2], [0.25, 0.35]])


@pytest.mark.parametrize(
    ("people", "masked"), [([0, 0], [False, True]), ([0, 1], [True, True]), ([], [])]
)
def test_what_is_no_crowd_is_refused(people, masked):
    both = faces(len(people), masked=False, seed=0)
    both = Embeddings(both.whole, both.covered, np.array(masked, bool))
    with pytest.raises(DataError, match="no crowd; give both kinds"):
        Crowd(np.array(people), both)
