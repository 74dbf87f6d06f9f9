"""Saved models: whole or refused with a reason, and never half of one."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modicum
from modicum import bundle
from modicum.data.simulate import simulate_markov
from modicum.errors import BundleError
from modicum.methods.recommender import Recommender

VOCABULARY = "vocabulary.parquet"


def small(epochs: int = 1) -> Recommender:
    log = simulate_markov(20, 12, events_per_user=6, seed=0).log
    shape = {"dim": 8, "layers": 1, "length": 6, "batch_size": 8, "device": "cpu"}
    return modicum.SASRec(**shape, epochs=epochs).fit(log, progress=False)


@pytest.fixture(scope="module")
def model() -> Recommender:
    return small()


@pytest.fixture
def folder(model, tmp_path) -> Path:
    return model.save(tmp_path / "model")


def top_of(model: Recommender):
    return model.recommend([[1, 2, 3]], k=12)


def rewrite(folder: Path, *, signed: bool = True, **changes) -> None:
    """Change entries of the config, and its checksum too; None removes an entry."""
    path = folder / bundle.CONFIG
    config = json.loads(path.read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    if signed and isinstance(config.get("sha256"), dict):
        config["sha256"][bundle.CONFIG] = bundle._digest(config)
    path.write_text(json.dumps(config))


def test_a_model_is_four_files(folder):
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "weights.safetensors", "vocabulary.parquet", "card.md",
    }  # fmt: skip
    card = (folder / bundle.CARD).read_text()
    assert card.startswith("# sasrec\n") and "| dim | 8 |" in card


def test_paths_may_be_words(model, folder):
    assert top_of(modicum.load(str(folder))).equals(top_of(model))


def test_saving_what_was_loaded_changes_nothing(model, folder, tmp_path):
    again = modicum.load(folder).save(tmp_path / "again")
    for name in (bundle.CONFIG, bundle.CARD):
        assert (again / name).read_text() == (folder / name).read_text()


@pytest.mark.parametrize("place", ["file", "file/model"])
def test_a_place_that_cannot_be_written_is_named(model, tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match=rf"cannot be saved to .*{place} .*choose another folder"):
        model.save(tmp_path / place)


@pytest.mark.parametrize("name", [bundle.WEIGHTS, VOCABULARY, bundle.CARD])
def test_a_folder_in_the_place_of_a_file_is_refused(model, tmp_path, name):
    (tmp_path / name / "inside").mkdir(parents=True)
    with pytest.raises(BundleError, match="cannot be saved"):
        model.save(tmp_path)
    assert not list(tmp_path.glob(".saving*"))


@pytest.mark.parametrize("name", [bundle.WEIGHTS, VOCABULARY])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_files_are_refused_by_name(folder, name, damage):
    content = bytearray((folder / name).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    (folder / name).write_bytes({"flip": content, "cut": content[:-7], "empty": b""}[damage])
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        modicum.load(folder)


@pytest.mark.parametrize("name", [bundle.WEIGHTS, VOCABULARY])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08" + b"\x00" * 7 + b"{}      "])
def test_nonsense_with_a_right_checksum_is_refused(folder, name, content):
    (folder / name).write_bytes(content)
    config = json.loads((folder / bundle.CONFIG).read_text())
    rewrite(folder, sha256=config["sha256"] | {name: hashlib.sha256(content).hexdigest()})
    with pytest.raises(BundleError):
        modicum.load(folder)


def test_only_files_of_the_folder_are_read(folder):
    config = json.loads((folder / bundle.CONFIG).read_text())
    rewrite(folder, sha256=config["sha256"] | {"../vocabulary.parquet": "0" * 64})
    with pytest.raises(BundleError, match="not those of a model"):
        modicum.load(folder)


@pytest.mark.parametrize("name", [bundle.WEIGHTS, VOCABULARY])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        modicum.load(folder)


@pytest.mark.parametrize("change", [{"heads": 1}, {"length": 3}])
def test_changed_settings_are_refused(folder, change):
    config = json.loads((folder / bundle.CONFIG).read_text())
    rewrite(folder, signed=False, settings=config["settings"] | change)
    with pytest.raises(BundleError, match=r"config\.json is damaged"):
        modicum.load(folder)


def test_foreign_folders_are_refused(tmp_path, folder):
    with pytest.raises(BundleError, match="not a saved model"):
        modicum.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="not a saved model"):
        modicum.load(tmp_path)
    with pytest.raises(BundleError, match="load got a NoneType"):
        modicum.load(None)
    with pytest.raises(BundleError):
        modicum.load(folder / bundle.CARD)
    (tmp_path / bundle.CONFIG).mkdir()
    with pytest.raises(BundleError, match="cannot be read"):
        modicum.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model_type": "llama"}'])
def test_foreign_configs_are_refused(folder, text):
    (folder / bundle.CONFIG).write_text(text)
    with pytest.raises(BundleError, match=r"config\.json"):
        modicum.load(folder)


def test_a_truncated_config_is_refused(folder):
    path = folder / bundle.CONFIG
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match="cannot be read"):
        modicum.load(folder)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BundleError, match="cannot be read"):
        modicum.load(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_other_formats_are_refused(folder, version):
    rewrite(folder, format=version)
    with pytest.raises(BundleError):
        modicum.load(folder)


@pytest.mark.parametrize(
    "method",
    [
        "sequential.nothing",
        "sequential.teacher_states",
        "sequential.__init__",
        "sequential",
        "recommender",
        "network",
        "..bundle",
        "sequential.sasrec.Network",
        "../../evil",
        "/tmp/evil",
        "sequential/sasrec",
        "os.path",
        "",
        7,
        ["sequential", "sasrec"],
        {"a": 1},
    ],
    ids=str,
)
def test_what_is_no_method_is_refused(folder, method):
    rewrite(folder, method=method)
    with pytest.raises(BundleError, match="method"):
        modicum.load(folder)


@pytest.mark.parametrize("names", [{}, None, [], {"../secret": "0"}, {"card.md": "0"}], ids=str)
def test_checksums_cannot_be_left_out(folder, names):
    rewrite(folder, sha256=names)
    with pytest.raises(BundleError):
        modicum.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 16},
        {"layers": 3},
        {"dim": "8"},
        {"dim": -1},
        {"heads": 0},
        {"unknown": 1},
        {"length": None},
        {"device": "abacus"},
        {"dropout": 7},
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_weights_are_refused(folder, change):
    config = json.loads((folder / bundle.CONFIG).read_text())
    rewrite(folder, settings=config["settings"] | change)
    with pytest.raises(BundleError, match="does not fit"):
        modicum.load(folder)


@pytest.mark.parametrize(
    "change", [{"dim": 10**9}, {"length": 10**12}, {"layers": 10**9}, {"layers": 900}], ids=str
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_they_are_allocated(
    folder, monkeypatch, change
):
    config = json.loads((folder / bundle.CONFIG).read_text())
    rewrite(folder, settings=config["settings"] | change)
    monkeypatch.setattr(Recommender, "_begin", None)
    with pytest.raises(BundleError, match=r"weights lack|by its settings|is more than any"):
        modicum.load(folder)


def test_the_depth_of_a_backbone_is_looked_at_too(tmp_path):
    log = simulate_markov(20, 12, events_per_user=6, seed=0).log
    shape = modicum.Decoder(layers=1, width=8, heads=1)
    teacher = modicum.LLMRec(backbone=shape, dim=8, length=6, epochs=1, device="cpu")
    folder = teacher.fit(log, progress=False).save(tmp_path)
    settings = json.dumps(json.loads((folder / bundle.CONFIG).read_text())["settings"])
    assert '"layers": 1,' in settings
    deep = json.loads(settings.replace('"layers": 1,', f'"layers": {10**9},'))
    rewrite(folder, settings=deep)
    with pytest.raises(BundleError, match="more than any"):
        modicum.load(folder)


plain = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3)
values = plain | st.lists(plain, max_size=3) | st.dictionaries(st.text(max_size=3), plain)
keys = ["format", "method", "settings", "lineage", "training_log", "sha256"]


@pytest.fixture(scope="module")
def fuzzed(model, tmp_path_factory) -> tuple[Path, str]:
    folder = model.save(tmp_path_factory.mktemp("fuzzed"))
    return folder, (folder / bundle.CONFIG).read_text()


@settings(max_examples=60)
@given(st.sampled_from(keys), values)
def test_no_config_makes_anything_but_a_model_or_an_error_of_ours(fuzzed, key, value):
    folder, config = fuzzed
    (folder / bundle.CONFIG).write_text(json.dumps(json.loads(config) | {key: value}))
    try:
        modicum.load(folder)
    except BundleError as error:
        assert str(folder) in str(error)


class CutOffError(Exception):
    pass


def cut_off(monkeypatch, owner, name: str, after: int) -> None:
    """Make ``owner.name`` fail once it was called ``after`` times."""
    original, calls = getattr(owner, name), []

    def failing(*arguments, **named):
        calls.append(1)
        if len(calls) > after:
            raise CutOffError
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize(
    ("owner", "name"), [(bundle, "save_file"), (bundle, "sha256"), (bundle, "model_card")]
)
def test_a_write_that_fails_leaves_the_former_model_whole(model, folder, monkeypatch, owner, name):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patched:
        cut_off(patched, owner, name, after=0)
        with pytest.raises(CutOffError):
            small(epochs=2).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert top_of(modicum.load(folder)).equals(top_of(model))


@pytest.mark.parametrize("renamed", [0, 1, 2, 3])
def test_a_cut_between_two_renames_never_leaves_a_mixture(folder, monkeypatch, renamed):
    with monkeypatch.context() as patched:
        cut_off(patched, Path, "replace", after=renamed)
        with pytest.raises(CutOffError):
            small(epochs=2).save(folder)
    with pytest.raises(BundleError, match="not a saved model"):
        modicum.load(folder)
    other = small(epochs=2)
    other.save(folder)
    assert top_of(modicum.load(folder)).equals(top_of(other))
