"""An export recommends and ranks as its model does, and nothing else is taken for one."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import modicum as mo
from modicum.cli.app import main
from modicum.compression import onnx
from modicum.compression.onnx import export, load_onnx
from modicum.data.fetching import sha256
from modicum.data.simulate import simulate_markov
from modicum.data.split import Split
from modicum.errors import BundleError, MissingExtraError, NotFittedError, SettingError
from modicum.exported import CONFIG, ENCODER, ITEMS, PARITY, VOCABULARY, check_parity, read

pytest.importorskip("onnxscript", reason="exports need the extra [serve]")
pytest.importorskip("onnxruntime", reason="exports need the extra [serve]")

TINY = {"length": 8, "epochs": 1, "batch_size": 16, "dim": 8, "head": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def parts() -> Split:
    size = {"num_users": 60, "num_items": 30, "events_per_user": 15.0, "span_days": 60.0}
    return mo.split(simulate_markov(**size, seed=0).log)


@pytest.fixture(scope="module")
def teacher(parts) -> mo.LLMRec:
    backbone = mo.Decoder(layers=3, width=8, heads=2)
    return mo.LLMRec(**TINY, backbone=backbone).fit(parts.train, progress=False)


@pytest.fixture(
    scope="module",
    params=["popularity", "gru4rec", "sasrec", "bert4rec", "slmrec"],
)
def model(request, parts, teacher):
    unfitted = {
        "popularity": mo.Popularity(),
        "gru4rec": mo.GRU4Rec(**TINY, hidden=8),
        "sasrec": mo.SASRec(**TINY),
        "bert4rec": mo.BERT4Rec(**TINY | {"length": 2}),
        "slmrec": mo.SLMRec(**TINY, teacher=teacher, layers=2, blocks=2),
    }
    return unfitted[request.param].fit(parts.train, progress=False)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    before = {name: x.clone() for name, x in model.fitted_network.state_dict().items()}
    folder = export(model, tmp_path_factory.mktemp("export") / "onnx")
    torch.testing.assert_close(dict(model.fitted_network.state_dict()), before, rtol=0, atol=0)
    return folder


@pytest.fixture(scope="module")
def popular(parts, tmp_path_factory) -> Path:
    fitted = mo.Popularity().fit(parts.train, progress=False)
    return export(fitted, tmp_path_factory.mktemp("export"))


def test_the_export_recommends_what_its_model_does(model, folder):
    items = model.vocabulary.ids.to_list()
    histories = [items[:1], items[3:7], items[:9] * 3, [], ["nowhere"], [items[2], None, items[4]]]
    ours = model.recommend(histories, k=4)
    theirs = load_onnx(folder).recommend(histories, k=4)
    assert theirs.schema == ours.schema
    assert theirs.drop("score").equals(ours.drop("score"))
    np.testing.assert_allclose(theirs["score"], ours["score"], atol=1e-5, rtol=1e-5)


def test_evaluation_judges_the_export_as_its_model(model, folder, parts):
    ours, theirs = (mo.evaluate(x, parts.test, k=5) for x in (model, load_onnx(folder, threads=2)))
    assert theirs.per_user.drop("user").columns == ours.per_user.drop("user").columns
    for name in ("hr@5", "ndcg@5"):
        np.testing.assert_allclose(theirs.per_user[name], ours.per_user[name], atol=1e-6)


def test_the_files_alone_give_the_scores(model, folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ENCODER, providers=["CPUExecutionProvider"])
    history = model.vocabulary.ids.to_list()[: min(3, model.length)]
    rows = model.vocabulary.rows(history)[None]
    (users,) = session.run(["users"], {"items": rows})
    scores = users @ np.load(folder / ITEMS).T
    shown = model.recommend([history], k=1, exclude_seen=False)
    assert scores.max() == pytest.approx(shown["score"][0], rel=1e-5)


def test_an_export_replaces_a_former_one_and_leaves_nothing_aside(popular, parts):
    before = {path.name for path in popular.iterdir()}
    export(mo.Popularity().fit(parts.train, progress=False), popular)
    assert {path.name for path in popular.iterdir()} == before
    assert before == {CONFIG, ENCODER, ITEMS, PARITY, "vocabulary.parquet"}


def test_a_model_that_reads_one_event(parts, tmp_path):
    model = mo.SASRec(**TINY | {"length": 1, "layers": 1}).fit(parts.train, progress=False)
    history = model.vocabulary.ids.to_list()[:5]
    ours, theirs = (x.recommend([history]) for x in (model, load_onnx(export(model, tmp_path))))
    assert theirs["item"].to_list() == ours["item"].to_list()


def test_scores_that_are_no_inner_product_are_refused(parts, tmp_path):
    model = mo.Transitions().fit(parts.train, progress=False)
    with pytest.raises(SettingError, match="transitions cannot be exported"):
        export(model, tmp_path / "onnx")
    with pytest.raises(NotFittedError):
        export(mo.SASRec(), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_an_encoder_that_does_not_agree_is_not_kept(parts, tmp_path, monkeypatch):
    encode = onnx.OnnxNetwork.encode
    monkeypatch.setattr(onnx.OnnxNetwork, "encode", lambda self, batch: encode(self, batch) + 1e-3)
    with pytest.raises(BundleError, match="user vectors differ by"):
        export(mo.Popularity().fit(parts.train, progress=False), tmp_path)
    assert not list(tmp_path.iterdir())


def test_items_in_another_order_are_not_kept(parts, tmp_path, monkeypatch):
    vectors = onnx.OnnxNetwork.item_vectors
    monkeypatch.setattr(onnx.OnnxNetwork, "item_vectors", lambda self: vectors(self).flip(0))
    with pytest.raises(BundleError, match="best scores differ"):
        export(mo.Popularity().fit(parts.train, progress=False), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_export_learns_and_saves_no_more(popular, parts, tmp_path):
    exported = load_onnx(popular)
    for call in (lambda: exported.fit(parts.train), lambda: exported.save(tmp_path)):
        with pytest.raises(SettingError, match="export"):
            call()
    assert exported.name == "popularity"
    assert len(exported.recommend([[]], k=2)) == 2


def test_foreign_and_damaged_folders_are_refused(parts, tmp_path):
    with pytest.raises(BundleError, match="is not an export"):
        load_onnx(tmp_path)
    folder = export(mo.Popularity().fit(parts.train, progress=False), tmp_path / "onnx")
    for name in (ENCODER, ITEMS, "vocabulary.parquet"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{name} is damaged"):
            load_onnx(folder)
        (folder / name).unlink()
        with pytest.raises(BundleError, match="incomplete"):
            load_onnx(folder)
        (folder / name).write_bytes(whole)
    config = json.loads((folder / CONFIG).read_text())
    for wrong, says in (
        ({"format": 9}, "format 9"),
        ({"sha256": {"../x": "0"}}, "damaged"),
        ({"sha256": None}, "incomplete"),
    ):
        (folder / CONFIG).write_text(json.dumps(config | wrong))
        with pytest.raises(BundleError, match=says):
            load_onnx(folder)
    for text in ("[]", "{", "{}", "3"):
        (folder / CONFIG).write_text(text)
        with pytest.raises(BundleError):
            load_onnx(folder)


def test_a_file_without_checksum_or_of_another_catalogue_is_refused(popular, tmp_path):
    folder = shutil.copytree(popular, tmp_path / "onnx")
    told = json.loads((folder / CONFIG).read_text())

    def tell(**changed):
        sums = {name: sha256(folder / name) for name in told["sha256"]} | changed
        sums = {name: digest for name, digest in sums.items() if digest}
        (folder / CONFIG).write_text(json.dumps(told | {"sha256": sums}))

    for name in (ENCODER, ITEMS, VOCABULARY, PARITY):
        tell(**{name: None})
        with pytest.raises(BundleError, match=f"no checksum of {name}"):
            read(folder)
    items = np.load(folder / ITEMS)
    for wrong, says in ((items[:-1], "no one model"), (items * np.nan, "not finite")):
        np.save(folder / ITEMS, wrong)
        tell()
        with pytest.raises(BundleError, match=says):
            read(folder)


def test_what_answers_otherwise_than_when_it_was_made_is_told(folder):
    served = read(folder)
    check_parity(served)
    assert served.parity.rows.shape == served.parity.scores.shape == (8, 10)
    for items in (served.items[::-1], served.items * 1.01):
        with pytest.raises(BundleError, match="its own sample"):
            check_parity(dataclasses.replace(served, items=items))


def test_without_the_extra_the_message_names_it(popular, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"modicum\[serve\]"):
        load_onnx(popular)


def test_the_command_line_exports_a_saved_model(parts, tmp_path, capsys):
    model = mo.Popularity().fit(parts.train, progress=False)
    model.save(tmp_path / "a")
    assert main(["export", str(tmp_path / "a")]) == 0
    assert "encoder.onnx" in capsys.readouterr().out
    top = load_onnx(tmp_path / "a" / "onnx").recommend([[]])
    assert top.equals(model.recommend([[]]))
    assert main(["export", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    assert isinstance(load_onnx(tmp_path / "b").recommend([[]]), pl.DataFrame)
    assert main(["export", str(tmp_path)]) == 2


def test_an_export_writes_over_no_saved_model(parts, tmp_path):
    model = mo.Popularity().fit(parts.train)
    model.save(tmp_path)
    with pytest.raises(SettingError, match="holds a saved model"):
        export(model, tmp_path)
    assert mo.load(tmp_path).vocabulary.ids.equals(model.vocabulary.ids)
