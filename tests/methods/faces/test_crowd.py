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


def crowd_of(count):
    """Return a crowd of so many bare and as many masked faces."""
    return Crowd(
        Embeddings.joined([faces(count, masked=masked, seed=masked) for masked in (False, True)])
    )


def test_a_face_stands_where_its_nearest_strangers_are_on_average():
    crowd = crowd_of(2 * NEAREST)
    asked = faces(3, masked=False, seed=9)
    strangers = crowd.faces.take(crowd.faces.masked)
    expected = np.sort(asked.similarity(strangers, worn=True))[:, -NEAREST:].mean(1)
    np.testing.assert_allclose(crowd.standing(asked), expected, rtol=1e-6)


def test_a_bare_face_is_set_against_masked_ones_and_a_masked_face_against_bare_ones():
    crowd = crowd_of(30)
    bare = faces(4, masked=False, seed=9)
    worn = Embeddings(bare.whole, bare.covered, np.full(4, True))
    both = crowd.standing(Embeddings.joined([bare, worn]))
    assert not np.allclose(both[:4], both[4:])
    swapped = Crowd(Embeddings(crowd.faces.whole, crowd.faces.covered, ~crowd.faces.masked))
    np.testing.assert_allclose(swapped.standing(worn), both[:4], rtol=1e-6)


def test_a_face_that_was_not_found_has_no_standing():
    crowd, asked = crowd_of(10), faces(3, masked=True, seed=9)
    asked.whole[1] = np.nan
    found = crowd.standing(asked)
    assert np.isnan(found).tolist() == [False, True, False]


def test_who_looks_like_all_is_held_to_be_like_each_by_less():
    similarity = np.array([[0.6, 0.5], [0.4, 0.5]])
    found = set_against(similarity, np.array([0.4, 0.1]), np.array([0.2, 0.2]))
    np.testing.assert_allclose(found, [[0.3, 0.2], [0.25, 0.35]])


@pytest.mark.parametrize("masked", [[False, False], [True, True], []])
def test_what_is_no_crowd_is_refused(masked):
    both = faces(len(masked), masked=False, seed=0)
    with pytest.raises(DataError, match="no crowd; give both kinds"):
        Crowd(Embeddings(both.whole, both.covered, np.array(masked, bool)))


def test_a_crowd_has_no_face_that_was_not_found():
    whole = crowd_of(3).faces
    whole.whole[1] = np.nan
    with pytest.raises(DataError, match="faces that were found"):
        Crowd(whole)
