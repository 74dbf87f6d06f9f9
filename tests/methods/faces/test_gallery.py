from types import SimpleNamespace

import numpy as np
import pytest

from modicum.errors import DataError, NotFittedError
from modicum.methods.faces import Gallery, MaskedFaceRecognizer
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.gallery import STATES

DIM = 16
RECOGNIZER = SimpleNamespace(dim=DIM, embed=None)


def faces(people, *, masked=False, noise=0.05, seed=0):
    """Return embeddings near a direction of each person."""
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(50, DIM))
    vectors = middles[people] + noise * random.normal(size=(len(people), DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(vectors, -vectors, np.full(len(people), masked))


@pytest.fixture
def gallery():
    found = Gallery(RECOGNIZER)
    found.add(["ann", "ann", "bob"], faces([0, 0, 1]))
    found.add(["cy"], faces([2], masked=True))
    found.thresholds = dict(zip(STATES, (0.9, 0.8, 0.7), strict=True))
    return found


def test_the_nearest_above_the_threshold_of_its_state_is_named(gallery):
    found = gallery.search(faces([1, 2, 7], seed=5))
    assert found["name"].to_list() == ["bob", "cy", None]
    assert found["state"].to_list()[:2] == ["none/none", "none/mask"]
    assert found["threshold"].to_list()[:2] == [0.9, 0.8]
    hidden = gallery.search(faces([0, 2, 7], masked=True, seed=6))
    assert hidden["name"].to_list() == ["ann", "cy", None]
    assert hidden["state"].to_list()[:2] == ["none/mask", "mask/mask"]
    assert set(hidden["nearest"]) <= {"ann", "bob", "cy"}


def test_scores_are_cosines(gallery):
    probe = faces([0], seed=5)
    best = max(float(probe.whole[0] @ row) for row in gallery.vectors.whole[:2])
    assert gallery.search(probe)["score"][0] == pytest.approx(best, abs=1e-6)


def test_who_is_removed_is_unknown(gallery):
    gallery.remove("ann")
    assert gallery.people == ["bob", "cy"] and len(gallery) == 2
    assert gallery.search(faces([0], seed=5))["name"].to_list() == [None]
    with pytest.raises(DataError, match="nobody is enrolled as 'bub'; did you mean 'bob'"):
        gallery.remove("bub")


def test_an_empty_or_uncalibrated_gallery_says_so(gallery):
    with pytest.raises(DataError, match="empty"):
        Gallery(RECOGNIZER).search(faces([0]))
    gallery.thresholds = {}
    with pytest.raises(NotFittedError, match="calibrate"):
        gallery.search(faces([0]))


@pytest.mark.parametrize("model", [None, "runs/faces", MaskedFaceRecognizer])
def test_a_gallery_of_no_recognizer_is_refused(model):
    with pytest.raises(DataError, match="needs a fitted recognizer, not"):
        Gallery(model)


def test_thresholds_come_from_built_faces(gallery):
    with pytest.raises(DataError, match=r"'masked/' is a str .*read_manifest"):
        gallery.calibrate("masked/")


def test_where_a_mask_is_worn_both_readings_count():
    one, two = faces([0], seed=1), faces([0], masked=True, seed=2)
    two = Embeddings(-one.whole, one.covered, two.masked)
    assert one.similarity(two, worn=False)[0, 0] == pytest.approx(-1)
    assert one.similarity(two, worn=True)[0, 0] == pytest.approx(0, abs=1e-6)
    assert one.similarity(one, worn=True)[0, 0] == pytest.approx(1)
