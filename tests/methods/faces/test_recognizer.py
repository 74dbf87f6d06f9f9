import json

import numpy as np
import polars as pl
import pytest
import torch

import modicum as mo
from modicum import bundle
from modicum.errors import BundleError, DataError, NotFittedError, SettingError
from modicum.methods.faces import Gallery, MaskedFaceRecognizer, judge, judging
from modicum.methods.faces.crowd import Crowd
from modicum.methods.faces.embeddings import Embeddings
from modicum.methods.faces.onnx import PARITY, OnnxEmbedder, export_onnx
from modicum.methods.faces.pictures import read_picture
from modicum.methods.faces.student import COVER_FROM, CosineHead, SoftmaxHead, as_input, cover


@pytest.fixture(scope="module")
def model(built):
    recognizer = MaskedFaceRecognizer(
        stages=("head", "last"), classify=0.1, learning_rate=1e-4, epochs=1, batch_size=8
    )
    return recognizer.fit(built, seed=0, progress=False)


@pytest.fixture(scope="module")
def gallery(model, photos, built):
    found = Gallery(model)
    for person in range(3):
        found.enrol(f"person{person}", [photos / f"person{person}" / f"{at}.png" for at in (0, 1)])
    found.calibrate(built, far=0.05)
    return found


def test_each_stage_learns_what_it_names_and_nothing_else(model, built):
    frozen = MaskedFaceRecognizer(stages=()).fit(built, progress=False)
    assert [record["stage"] for record in model.training_log] == ["head", "last"]
    assert set(model.training_log[0]["losses"]) == {"teacher", "person"}
    for part, moved in (("trunk", False), ("whole", False), ("student", True)):
        ours, theirs = (getattr(m.network, part).state_dict() for m in (model, frozen))
        changed = [name for name in ours if not torch.equal(ours[name], theirs[name])]
        assert bool(changed) == moved, part
    assert frozen.training_log == []


def test_the_last_blocks_stay_while_the_head_learns(built):
    head = MaskedFaceRecognizer(stages=("head",), epochs=1, head="softmax", classify=0.1)
    head.fit(built, progress=False)
    student, bare = head.network.student.state_dict(), head.network.whole.state_dict()
    changed = {name for name in student if not torch.equal(student[name], bare[name])}
    assert changed == {"Bottleneck.weight", "Bottleneck.bias"}


def test_masked_and_bare_photos_of_one_face_are_near(model, photos):
    found = model.embed([photos / "person0" / f"{at}.png" for at in (0, 1)])
    np.testing.assert_allclose(np.linalg.norm(found.whole, axis=1), 1, atol=1e-5)
    assert found.whole[0] @ found.whole[1] > 0.8
    assert found.whole.dtype == found.covered.dtype == np.float32


def test_what_lies_below_the_eyes_does_not_reach_the_covered_reading(model, built):
    squares = built.squares(built.built.head(1))
    other = squares.copy()
    other[:, COVER_FROM:] = 255 - other[:, COVER_FROM:]
    one, two = (model.embed_squares(x) for x in (squares, other))
    np.testing.assert_allclose(one.covered, two.covered, atol=1e-6)
    assert np.abs(one.whole - two.whole).max() > 1e-3
    assert (cover(as_input(torch.from_numpy(squares)))[:, :, COVER_FROM:] == 0).all()


def test_a_saved_model_embeds_as_before_and_a_damaged_one_is_refused(model, built, tmp_path):
    again = mo.load(model.save(tmp_path / "model"))
    squares = built.squares(built.built.head(2))
    one, two = (m.embed_squares(squares) for m in (model, again))
    np.testing.assert_array_equal(one.covered, two.covered)
    assert again.digest == model.digest and again.stages == model.stages
    assert "consent" in (tmp_path / "model" / "card.md").read_text()
    weights = tmp_path / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match="checksum"):
        mo.load(tmp_path / "model")


def test_a_gallery_knows_its_people_and_is_read_back(gallery, photos, tmp_path):
    probes = [photos / f"person{person}" / "3.png" for person in range(3)]
    found = gallery.identify(probes)
    assert found.columns == ["query", "name", "score", "threshold", "state", "nearest"]
    again = Gallery.load(gallery.save(tmp_path / "gallery"))
    assert again.identify(probes).equals(found) and again.people == gallery.people
    assert isinstance(gallery.verify("person0", probes[0]), bool)
    random = np.random.default_rng(0).normal(size=(2, 6, gallery.model.dim)).astype(np.float32)
    strangers = Embeddings(*random, np.arange(6) < 3)
    gallery.crowd = Crowd(strangers)
    gallery.standing = gallery.crowd.standing(gallery.vectors)
    again = Gallery.load(gallery.save(tmp_path / "gallery"))
    np.testing.assert_array_equal(again.standing, gallery.standing)
    probe = Embeddings(*random[:, :1], np.array([True]))
    assert again.search(probe).equals(gallery.search(probe))
    gallery.crowd, gallery.standing = None, np.zeros(len(gallery), np.float32)
    assert not again.search(probe).equals(gallery.search(probe))
    config = tmp_path / "gallery" / "config.json"
    told = json.loads(config.read_text())
    told["lineage"]["model"] = "another"
    told["sha256"]["config.json"] = bundle._digest(told)
    config.write_text(json.dumps(told))
    with pytest.raises(BundleError, match="another model"):
        Gallery.load(tmp_path / "gallery")
    with pytest.raises(BundleError, match="no gallery"):
        Gallery.load(tmp_path / "gallery" / "model")


def test_a_mask_is_told_whatever_was_trained(built):
    frozen = MaskedFaceRecognizer(stages=()).fit(built, progress=False)
    rows = built.built.filter(pl.col("square").is_not_null())
    worn = rows["style"].is_not_null().to_numpy()
    seen = frozen.embed_squares(built.squares(rows)).masked
    assert (seen == worn).mean() > 0.9


def test_a_picture_without_a_face_is_named(model, photos):
    wall = photos / "person1" / "wall.png"
    with pytest.raises(DataError, match=r"no face: .*wall"):
        model.embed([photos / "person0" / "0.png", wall])
    with pytest.raises(DataError, match="no face: picture 0"):
        model.embed([read_picture(wall)])
    with pytest.raises(DataError, match=r"wall.png' must be a list of pictures"):
        model.embed(wall)


def test_what_cannot_be_fitted_says_why(built):
    with pytest.raises(NotFittedError, match="fit"):
        MaskedFaceRecognizer().embed([])
    alone = built.only(built.frame.filter(pl.col("identity") == "person0"))
    with pytest.raises(DataError, match="two people"):
        MaskedFaceRecognizer().fit(alone, progress=False)
    for given in (("masked/",), (None,), (built, "masked/")):
        with pytest.raises(DataError, match=r"where built faces belong; .*read_manifest"):
            MaskedFaceRecognizer().fit(*given, progress=False)
    with pytest.raises(DataError, match="where built faces belong"):
        judge(MaskedFaceRecognizer(), "masked/")
    for wrong in (
        {"head": "linear"},
        {"teach": -1.0},
        {"teach": 0.0},
        {"epochs": 0},
    ):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            MaskedFaceRecognizer(**wrong).check()


def test_a_cosine_head_asks_the_right_person_to_lead():
    head = CosineHead(4, 3, margin=0.3, scale=10.0)
    with torch.no_grad():
        head.people.copy_(torch.eye(3, 4))
    vectors = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    logits = head(vectors, torch.tensor([0]))
    expected = [10 * np.cos(np.pi / 4 + 0.3), 10 * np.cos(np.pi / 4), 0]
    np.testing.assert_allclose(logits.detach()[0], expected, atol=1e-4)
    assert SoftmaxHead(4, 3)(vectors, torch.tensor([0])).shape == (1, 3)


def test_an_export_embeds_as_the_model_does(model, built, tmp_path):
    path = export_onnx(model, tmp_path / "faces.onnx")
    squares = built.squares(built.built.filter(pl.col("square").is_not_null()).head(3))
    one, two = model.embed_squares(squares), OnnxEmbedder(path).embed_squares(squares)
    np.testing.assert_allclose(one.whole, two.whole, atol=PARITY)
    np.testing.assert_allclose(one.covered, two.covered, atol=PARITY)
    assert one.masked.tolist() == two.masked.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["faces.onnx"]
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(BundleError, match="no graph"):
        OnnxEmbedder(tmp_path / "text.onnx")


def test_judging_against_a_crowd_leaves_bare_faces_as_they_are(model, built, monkeypatch):
    person = pl.col("identity") == "person0"
    others, faces = (built.only(built.frame.filter(kind)) for kind in (person, ~person))
    with pytest.raises(DataError, match="1 people does more harm than good; give 20 or more"):
        judge(model, faces, crowd=others, fars=[0.05])
    with pytest.raises(DataError, match="person1 and 1 others are both"):
        judge(model, faces, crowd=built, fars=[0.05])
    with pytest.raises(DataError, match="where built faces belong"):
        judge(model, built, crowd="masked/")
    monkeypatch.setattr(judging, "LEAST_PEOPLE", 1)
    plain, crowd = (judge(model, faces, crowd=who, fars=[0.1]) for who in (None, others))
    bare = (pl.col("gallery") == "bare") & (pl.col("probe") == "bare")
    assert plain.filter(bare).equals(crowd.filter(bare))
    assert not plain.filter(~bare)["threshold"].equals(crowd.filter(~bare)["threshold"])


def test_judging_counts_a_copy_without_a_face_as_rejected(model, built):
    found = judge(model, built, fars=[0.05])
    assert found["measure"].unique().sort().to_list() == ["TAR at FAR 0.05", "nearest is right"]
    assert found.filter(probe="masked", gallery="bare")["style"].to_list() == [
        *([None] * 2),
        *(["cloth"] * 2),
        *(["surgical"] * 2),
    ]
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()
    copies = built.built.filter(pl.col("style").is_not_null())["square"].drop_nulls()
    square = pl.when(pl.col("square").is_in(copies[:4].to_list())).then(None)
    lost = built.only(built.frame.with_columns(square=square.otherwise(pl.col("square"))))
    fewer = judge(model, lost, fars=[0.05])
    right = [
        frame.filter(probe="masked", gallery="bare", measure="nearest is right").head(1)
        for frame in (found, fewer)
    ]
    assert right[0]["n"][0] == right[1]["n"][0]
    assert right[1]["value"][0] <= right[0]["value"][0]
