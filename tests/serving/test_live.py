"""A new model takes the place of the old one: aside, checked, at once, or not at all."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import modicum as mo
from modicum.compression.onnx import export
from modicum.data.simulate import simulate_markov
from modicum.errors import BundleError
from modicum.serving.app import create_app
from modicum.serving.live import Live
from modicum.serving.shell import Limits
from modicum.serving.source import Source

HERE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> list[Path]:
    """Two models with no item in common: numbers from 1, and texts."""
    log = simulate_markov(40, 20, events_per_user=6, seed=0).log
    numbers = mo.Popularity().fit(log, progress=False)
    names = {"user": "user", "item": "item", "time": "time"}
    frame = log.scan.collect().with_columns(item="x" + log.scan.collect()["item"].cast(str))
    texts = mo.Popularity().fit(mo.read_events(frame, **names), progress=False)
    return [
        export(model, tmp_path_factory.mktemp(word))
        for word, model in (("numbers", numbers), ("texts", texts))
    ]


@pytest.fixture
def link(tmp_path, exports):
    path = tmp_path / "current"
    path.symlink_to(exports[0])
    return path


def move(link: Path, target: Path) -> None:
    aside = link.with_name("aside")
    aside.symlink_to(target)
    aside.replace(link)


def test_a_moved_link_brings_the_new_model(link, exports, store):
    with Live(Source(link), store) as live:
        first = live.current
        assert not live.refresh() and live.current is first
        move(link, exports[1])
        assert live.refresh() and live.current is not first
        assert live.current.version != first.version


def test_a_damaged_model_is_refused_once_and_the_old_one_goes_on(link, exports, store, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(exports[1], broken)
    (broken / "items.npy").write_bytes(b"nothing")
    with Live(Source(link), store) as live:
        first = live.current
        move(link, broken)
        with pytest.raises(BundleError, match="damaged"):
            live.refresh()
        assert live.current is first
        assert not live.refresh()  # not tried again until it changes
        move(link, exports[1])
        assert live.refresh()


def test_a_model_that_has_gone_changes_nothing(link, store):
    with Live(Source(link), store) as live:
        first = live.current
        link.unlink()
        with pytest.raises(BundleError):
            live.refresh()
        assert live.current is first


def test_a_saved_model_is_exported_first(tmp_path, store):
    log = simulate_markov(40, 20, events_per_user=6, seed=0).log
    saved = mo.Popularity().fit(log, progress=False).save(tmp_path / "saved")
    with Live(Source(saved), store) as live:
        assert live.current.method == "popularity"
        assert not live.refresh()
    made = (saved / "onnx" / "export.json").stat().st_mtime_ns
    with Live(Source(saved), store):  # what has been exported is not exported again
        assert (saved / "onnx" / "export.json").stat().st_mtime_ns == made
    mo.Popularity().fit(mo.split(log).train, progress=False).save(saved)
    with Live(Source(saved), store):  # unless it is of another model
        assert (saved / "onnx" / "export.json").stat().st_mtime_ns > made
    (saved / "onnx" / "items.npy").write_bytes(b"damaged")
    with Live(Source(saved), store) as live:  # or it is damaged
        assert live.current.method == "popularity"
    mo.Transitions().fit(log, progress=False).save(saved)
    with pytest.raises(BundleError, match="could not be exported: transitions"):
        Source(saved).read()
    (saved / "config.json").write_text("{}")
    with pytest.raises(BundleError, match="damaged"):
        Source(saved).read()


def test_under_load_no_request_fails_and_no_answer_is_mixed(link, exports, store):
    asked, stop = [], threading.Event()
    with Live(Source(link), store) as live:
        app = create_app(live, Limits(refresh_s=3600, budget_s=60))
        with TestClient(app, base_url=HERE) as client:

            def ask() -> None:
                while not stop.is_set():
                    asked.append(client.post("/recommend", json={"history": [], "k": 5}))

            with ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(ask) for _ in range(4)]
                for turn in range(1, 9):
                    move(link, exports[turn % 2])
                    assert live.refresh()
                stop.set()
                for future in futures:
                    future.result()
            metrics = client.get("/metrics").text
    assert asked and {answer.status_code for answer in asked} == {200}
    kinds = {(x.json()["version"], type(row["item"])) for x in asked for row in x.json()["items"]}
    assert len({version for version, _ in kinds}) == len(kinds) <= 2
    assert "modicum_model_info" in metrics


def test_the_server_notices_by_itself_and_counts_it(link, exports, store):
    with Live(Source(link), store) as live:
        first = live.current.version
        app = create_app(live, Limits(refresh_s=0.01))
        with TestClient(app, base_url=HERE) as client:
            move(link, exports[1])
            versions = (client.post("/recommend", json={"history": []}) for _ in range(3000))
            assert any(answer.json()["version"] != first for answer in versions)
            counted = 'modicum_reloads_total{outcome="done"} 1.0'  # once the old one has closed
            assert any(counted in client.get("/metrics").text for _ in range(3000))
