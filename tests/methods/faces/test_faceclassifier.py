import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

import modicum as mo
from modicum.errors import BundleError, DataError, NotFittedError, SettingError
from modicum.methods.faces.classic import VGG16, ResNet50, read_weights
from modicum.methods.faces.faceclassifier import AugmentedSquares, FaceClassifier, augmented
from modicum.methods.faces.student import COVER_FROM


@pytest.mark.parametrize(("network", "parameters"), [(ResNet50, 24.6e6), (VGG16, 15.0e6)])
def test_networks_have_the_published_size(network, parameters):
    with torch.device("meta"):
        found = network()
    assert sum(p.numel() for p in found.parameters()) == pytest.approx(parameters, rel=0.01)
    assert found(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 512)


def test_names_are_torchvisions():
    with torch.device("meta"):
        resnet, vgg = set(ResNet50().state_dict()), set(VGG16().state_dict())
    assert {"conv1.weight", "layer1.0.downsample.1.running_var", "layer4.2.bn3.bias"} <= resnet
    assert {"features.0.weight", "features.41.running_mean"} <= vgg
    assert not any(name.startswith("layer1.1.downsample") for name in resnet)


def test_weights_are_read_and_foreign_ones_refused(tmp_path):
    torch.manual_seed(0)
    source, target = VGG16(), VGG16()
    kept = {name: x for name, x in source.state_dict().items() if name.startswith("features")}
    save_file(kept | {"classifier.6.weight": torch.zeros(2)}, tmp_path / "vgg.safetensors")
    missing = read_weights(target, tmp_path / "vgg.safetensors")
    assert missing == ["embedding.weight", "embedding.bias"]
    assert torch.equal(target.features[0].weight, source.features[0].weight)
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "odd.safetensors")
    save_file({"other": torch.zeros(2)}, tmp_path / "none.safetensors")
    for name, reason in (("odd", "shape"), ("none", "no weights of VGG16"), ("gone", "read")):
        with pytest.raises(BundleError, match=reason):
            read_weights(target, tmp_path / f"{name}.safetensors")


def test_batches_are_the_same_when_asked_again_and_others_in_the_next_epoch():
    squares = np.random.default_rng(0).integers(0, 256, (5, 160, 160, 3), np.uint8)
    batches = AugmentedSquares(squares, np.arange(5), 2, 40, seed=3)
    one, again, next_ = (list(batches.epoch(epoch)) for epoch in (0, 0, 1))
    assert len(batches) == len(one) == 3 and one[0]["faces"].shape == (2, 3, 40, 40)
    assert sorted(x for batch in one for x in batch["person"].tolist()) == list(range(5))
    assert all(torch.equal(a["faces"], b["faces"]) for a, b in zip(one, again, strict=True))
    assert torch.equal(next(iter(batches.epoch(0, skip=2)))["faces"], one[2]["faces"])
    assert not torch.equal(one[0]["faces"], next_[0]["faces"])


def test_some_lower_halves_are_erased():
    faces = torch.ones(200, 3, 160, 160)
    lower = augmented(faces, np.random.default_rng(0))[:, :, COVER_FROM + 8 :]
    assert 0.15 < (lower == 0).all((1, 2, 3)).float().mean() < 0.35


def test_a_classifier_learns_whom_it_has_seen_and_is_kept(built, tmp_path):
    model = FaceClassifier(side=32, epochs=1, batch_size=12, warmup_steps=0)
    with pytest.raises(NotFittedError, match="fit"):
        model.classify(np.empty((0, 160, 160, 3), np.uint8))
    with pytest.raises(NotFittedError, match="fit"):
        model.save(tmp_path / "none")
    model.fit(built, built, progress=False)
    named = model.classify(built.squares(built.built.head(2)))
    assert set(named) <= {"person0", "person1", "person2"}
    assert model.training_log[0]["losses"]["softmax"] > 0
    assert 0 <= model.training_log[0]["validation"] <= 1
    kept = mo.load(model.save(tmp_path / "model"))
    assert kept.lineage == model.lineage and kept.lineage["styles"] == ["cloth", "surgical"]
    assert "- seed: " in (tmp_path / "model" / "card.md").read_text()
    every = built.squares(built.built.filter(pl.col("square").is_not_null()))
    assert kept.classify(every).tolist() == model.classify(every).tolist()
    assert (kept.side, kept.names) == (model.side, model.names)


def test_what_cannot_be_fitted_says_why(built):
    alone = built.only(built.frame.filter(identity="person0"))
    with pytest.raises(DataError, match="1 people are too few"):
        FaceClassifier().fit(alone, progress=False)
    with pytest.raises(DataError, match=r"'masked/' is a str where built faces belong"):
        FaceClassifier().fit("masked/", progress=False)
    with pytest.raises(SettingError, match="side=8"):
        FaceClassifier(side=8).check()
