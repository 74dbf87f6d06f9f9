from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from modicum.errors import DataError, NotFittedError
from modicum.methods.faces import Gallery, MaskedFaceRecognizer, MaskedFaces
from modicum.methods.faces import gallery as module
from modicum.methods.faces.crowd import LEAST_PEOPLE
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.gallery import STATES
from modicum.methods.faces.manifest import BUILT

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


class Strangers(MaskedFaces):
    """A built folder whose squares are numbers of rows."""

    def squares(self, rows):
        return rows["square"].to_numpy()


def strangers(people, *, each=8):
    """Return a recognizer and built faces, masked ones alike by chance: a hood over the person."""
    count = people * each
    random = np.random.default_rng(5)
    who = np.repeat(np.arange(people), 2 * each)
    masked = np.tile(np.repeat([False, True], each), people)
    person, hood = random.normal(size=(people, DIM)), random.normal(size=DIM)
    alike = np.where(masked, 4 * random.random(2 * count), random.random(2 * count))
    vectors = person[who] + alike[:, None] * hood + 0.5 * random.normal(size=(2 * count, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = Embeddings(vectors, vectors, masked)
    frame = pl.DataFrame(
        {
            "identity": [f"stranger {at:02}" for at in who],
            "source": np.arange(2 * count),
            "style": [("cloth" if worn else None) for worn in masked],
            "square": np.arange(2 * count),
            "outcome": BUILT,
        }
    )
    recognizer = SimpleNamespace(dim=DIM, embed=None, embed_squares=found.take)
    return recognizer, Strangers("nowhere", "nowhere", frame), found


def rates(recognizer, everyone, found, far):
    """Calibrate on half of the people; return accepted strangers and identified people."""
    names = everyone.frame["identity"].unique().sort()
    half = pl.col("identity").is_in(names.head(len(names) // 2).to_list())
    known = Gallery(recognizer)
    known.calibrate(everyone.only(everyone.frame.filter(half)), far=far)
    rest = everyone.frame.filter(~half)
    enrolled = rest.filter(pl.col("style").is_null())
    known.add(enrolled["identity"].to_list(), found.take(enrolled["square"].to_numpy()))
    asked = rest.filter(pl.col("style").is_not_null())
    margins = known._margins(found.take(asked["square"].to_numpy()))
    same = asked["identity"].to_numpy()[:, None] == enrolled["identity"].to_numpy()
    return known, (margins[~same] >= 0).mean(), (margins[same] >= 0).mean()


def test_against_a_crowd_more_are_known_at_the_same_rate_of_false_accepts(monkeypatch):
    made = strangers(4 * LEAST_PEOPLE)
    with_crowd, false, right = rates(*made, far=0.01)
    assert with_crowd.crowd is not None
    monkeypatch.setattr(module, "LEAST_PEOPLE", 999)
    without, false_before, right_before = rates(*made, far=0.01)
    assert without.crowd is None
    assert false < 0.03 and false_before < 0.05
    assert right > right_before + 0.1


@pytest.mark.parametrize(("people", "there"), [(39, False), (40, True)])
def test_a_crowd_is_of_half_the_people_if_those_are_enough(people, there):
    recognizer, everyone, found = strangers(people)
    known = Gallery(recognizer)
    known.calibrate(everyone, far=0.01)
    assert (known.crowd is not None) == there
    if there:
        assert len(known.crowd.faces) == len(found) / 2


def test_people_who_are_needed_to_tell_the_rate_are_no_crowd():
    recognizer, everyone, _ = strangers(40, each=1)
    pairs = 20 * 19
    for far, there in ((1.01 / pairs, True), (0.99 / pairs, False)):
        known = Gallery(recognizer)
        known.calibrate(everyone, far=far)
        assert (known.crowd is not None) == there


def test_few_people_are_no_crowd_and_bare_faces_are_compared_as_they_are():
    few, *_ = rates(*strangers(3 * LEAST_PEOPLE), far=0.01)
    assert few.crowd is None
    recognizer, everyone, found = strangers(4 * LEAST_PEOPLE)
    known = rates(recognizer, everyone, found, far=0.01)[0]
    row = known.vectors.take(np.array([0]))
    score = known.search(row)["score"][0]
    assert score == pytest.approx(1) and known.standing.shape == (len(known),)
    known.remove(known.names[0])
    assert known.standing.shape == (len(known),)


def test_a_calibration_that_fails_leaves_the_gallery_as_it_was():
    recognizer, everyone, found = strangers(4 * LEAST_PEOPLE)
    known = rates(recognizer, everyone, found, far=0.01)[0]
    before = known.crowd, dict(known.thresholds), known.far
    with pytest.raises(DataError, match="cannot be told"):
        known.calibrate(everyone, far=1e-9)
    assert (known.crowd, known.thresholds, known.far) == before
