"""Scores of a whole log are what the model recommends, however they were come by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

import modicum as mo
from modicum.compression.onnx import export
from modicum.data.simulate import simulate_domains
from modicum.errors import DataError, ResourceError, SettingError
from modicum.methods.inputs import of_items
from modicum.scale import score as scoring
from modicum.scale.jobs import MANIFEST, WORK, Ask
from modicum.scale.score import score
from modicum.scale.shards import split_by_user
from modicum.serving.app import create_app
from modicum.serving.live import Live
from modicum.serving.shell import Limits
from modicum.serving.source import Source
from modicum.serving.sqlite_store import SQLiteStore

SHARDS = 7


def run(model: Path, log, out: Path, ask: Ask | None = None, **more):
    settings = {"digest": "events", "partitions": SHARDS, "progress": False}
    return score(model, log, out, ask, **settings | more)


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def scores(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "*.parquet")


def past(table: pl.DataFrame) -> dict[str, list[str]]:
    """Return the items of each user, by time and then by place in the table."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for at, (user, item, time) in enumerate(table.iter_rows()):
        found.setdefault(user, []).append((time, at, item))
    return {user: [item for *_, item in sorted(rows)] for user, rows in found.items()}


@pytest.fixture(scope="module")
def done(model, log, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "scores"
    run(model, log, out)
    return out


def test_the_stream_gives_what_recommend_gives(fitted, table, done):
    histories = past(table)
    top = fitted.recommend(list(histories.values()), k=10)
    found = scores(done)
    assert found.columns == ["user", "item", "score", "rank", "source"]
    assert set(found["user"]) == set(histories)
    assert max(map(len, histories.values())) > 2 * fitted.length
    for at, user in enumerate(histories):
        expected, mine = top.filter(query=at), found.filter(user=user)
        assert mine["item"].to_list() == expected["item"].to_list()
        assert mine["rank"].to_list() == expected["rank"].to_list()
        np.testing.assert_allclose(mine["score"], expected["score"], atol=1e-5)
        known = set(histories[user]) & set(fitted.vocabulary.ids)
        assert set(mine["source"]) == {"model" if known else "popularity"}


def test_each_user_is_in_one_part_and_the_parts_say_how_many(done, table):
    users = [set(pl.read_parquet(part)["user"]) for part in sorted(done.glob("*.parquet"))]
    assert len(users) == SHARDS and sum(map(len, users)) == len(set().union(*users))
    parts = json.loads((done / MANIFEST).read_text())["parts"]
    assert [part["users"] for part in parts] == [len(some) for some in users]
    assert sum(part["unknown"] for part in parts) == sum(
        user.startswith("new") for user in set(table["uid"])
    )


def test_http_gives_what_the_stream_gives(fitted, table, done, tmp_path):
    source = Source(export(fitted, tmp_path / "export"))
    found = scores(done)
    with (
        SQLiteStore(tmp_path / "history.sqlite") as store,
        Live(source, store) as live,
        TestClient(create_app(live, Limits(budget_s=60)), base_url="http://127.0.0.1") as client,
    ):
        for user, history in past(table).items():
            answer = client.post("/recommend", json={"history": history, "k": 10}).json()
            mine = found.filter(user=user)
            assert [x["item"] for x in answer["items"]] == mine["item"].to_list()
            told = [x["score"] for x in answer["items"]]
            np.testing.assert_allclose(told, mine["score"], atol=1e-5)
            assert {answer["source"]} == set(mine["source"])


def test_the_number_of_workers_changes_no_byte(model, log, done, tmp_path):
    run(model, log, tmp_path / "three", workers=3)
    assert files(tmp_path / "three") == files(done)


def test_what_is_done_is_not_done_again(model, log, done, tmp_path, monkeypatch):
    out = tmp_path / "scores"
    run(model, log, out)
    damaged, gone = out / "part-00002.parquet", out / "part-00005.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    gone.unlink()
    asked = []
    whole = scoring.stream.score_shard

    def counted(model, shards, shard, *rest):
        asked.append(shard)
        return whole(model, shards, shard, *rest)

    monkeypatch.setattr(scoring.stream, "score_shard", counted)
    run(model, log, out)
    assert sorted(asked) == [2, 5] and files(out) == files(done)
    run(model, log, out)
    assert sorted(asked) == [2, 5]


def test_another_job_is_told_apart(model, log, done):
    before = files(done)
    for ask, more, said in (
        (Ask(k=3), {}, "k: 10 there, 3 here"),
        (Ask(exclude_seen=False), {}, "exclude_seen: True there, False here"),
        (Ask(), {"digest": "others"}, "events: events there, others here"),
        (Ask(), {"partitions": 2}, "partitions: 7 there, 2 here"),
    ):
        with pytest.raises(SettingError, match=said):
            run(model, log, done, ask, **more)
    assert files(done) == before


def test_a_folder_of_something_else_stays_as_it_is(model, log, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SettingError, match="something else than scores"):
        run(model, log, tmp_path)
    assert list(files(tmp_path)) == ["thesis.txt"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_shard_stops_the_job_and_a_new_one_ends_it(
    model, log, done, tmp_path, monkeypatch, workers
):
    out = tmp_path / "scores"

    def damaging(log, folder, partitions, job):
        shards = split_by_user(log, folder, partitions, job)
        path = shards.path(SHARDS - 1)
        content = path.read_bytes()
        path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
        return shards

    with (
        monkeypatch.context() as patch,
        pytest.raises(DataError, match=r"shard-00006\S* is damaged"),
    ):
        patch.setattr(scoring, "split_by_user", damaging)
        run(model, log, out, workers=workers)
    with pytest.raises(DataError, match="is damaged"):
        run(model, log, out)
    for file in (out / WORK).iterdir():
        file.unlink()
    run(model, log, out)
    assert files(out) == files(done)


def test_more_shards_than_users_give_empty_parts_of_the_same_kind(model, log, done, tmp_path):
    run(model, log, tmp_path / "many", partitions=400)
    parts = [pl.read_parquet(part) for part in sorted((tmp_path / "many").glob("*.parquet"))]
    assert len(parts) == 400 and any(part.is_empty() for part in parts)
    assert {str(part.schema) for part in parts} == {str(scores(done).schema)}
    together, expected = (x.sort("user", "rank") for x in (pl.concat(parts), scores(done)))
    assert together.drop("score").equals(expected.drop("score"))
    np.testing.assert_allclose(together["score"], expected["score"], atol=1e-5)


def test_it_says_what_it_takes_and_refuses_what_does_not_fit(
    model, log, tmp_path, monkeypatch, capsys
):
    run(model, log, tmp_path / "fits", progress=True)
    said = capsys.readouterr().err
    assert "in 7 shards, 7 of them to do" in said and "GiB (" in said
    monkeypatch.setattr(scoring, "available_bytes", lambda device: 1000)
    with pytest.raises(ResourceError, match="fewer workers or more partitions"):
        run(model, log, tmp_path / "large")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"workers": 0}, "workers=0"),
        ({"partitions": 0}, "partitions=0"),
        ({"cluster": "auto"}, "for engine='ray'"),
    ],
)
def test_settings_out_of_range_are_named_before_anything_is_written(
    model, log, tmp_path, more, said
):
    with pytest.raises(SettingError, match=said):
        run(model, log, tmp_path / "none", **more)
    with pytest.raises(DataError, match="'sports' is not known"):
        run(model, log, tmp_path / "none", Ask(domain="sports"))
    assert not (tmp_path / "none").exists()


DOMAINS = simulate_domains(60, 12, overlap=0.6, seed=0).log
ENCODER = {"method": "sasrec", "dim": 8, "layers": 1, "heads": 2}
TINY = {"length": 8, "epochs": 1, "head": "float32", "device": "cpu", "encoder": ENCODER}


@pytest.mark.parametrize(
    "method", [mo.Merged(**TINY), mo.MACD(**TINY), mo.IMVAE(**TINY)], ids=lambda x: x.name
)
def test_models_of_several_domains_score_for_the_one_asked_for(method, tmp_path):
    model = method.fit(mo.split(DOMAINS).train, progress=False)
    run(model.save(tmp_path / "model"), DOMAINS, tmp_path / "scores", Ask(k=4, domain="d1"))
    found = scores(tmp_path / "scores")
    assert set(found["domain"]) == {"d1"}
    rows = DOMAINS.frame.sort("time", maintain_order=True)
    pairs = rows.group_by("user", maintain_order=True).agg("domain", "item")
    histories = [list(zip(*row[1:], strict=True)) for row in pairs.iter_rows()]
    top = model.recommend(histories, k=4, domain="d1")
    asked = top.with_columns(user=pairs["user"].gather(top["query"])).sort("user", "rank")
    found = found.sort("user", "rank")
    assert found["item"].equals(asked["item"])
    np.testing.assert_allclose(found["score"], asked["score"], atol=1e-5)
    read = model.read(of_domain(model, histories))
    by_model = dict(zip(pairs["user"], read.ends > read.starts, strict=True))
    for user, source in found.select("user", "source").unique().iter_rows():
        assert source == ("model" if by_model[user] else "popularity")


def of_domain(model, histories):
    prefixes = of_items(histories, model.vocabulary)
    code = model.vocabulary.domain_code("d1")
    return type(prefixes)(
        prefixes.item_rows, prefixes.starts, prefixes.ends, None, np.full(len(prefixes), code)
    )


def test_behaviours_of_the_events_reach_the_model(tmp_path):
    bought = pl.when(pl.col("time").dt.second() % 3 == 0).then(pl.lit("buy"))
    frame = DOMAINS.frame.drop("domain").with_columns(behaviour=bought.otherwise(pl.lit("view")))
    frame = frame.with_columns(pl.col("item") % 20).rename({"user": "user_id", "item": "item_id"})
    log = mo.read_events(frame, time="time", behaviour="behaviour")
    model = mo.Merged(**TINY, target="buy").fit(mo.split(log).train, progress=False)
    run(model.save(tmp_path / "model"), log, tmp_path / "scores", Ask(k=4), partitions=30)
    rows = log.frame.sort("time", maintain_order=True)
    histories = rows.group_by("user", maintain_order=True).agg("item", "behaviour")
    top = model.recommend(
        histories["item"].to_list(), behaviours=histories["behaviour"].to_list(), k=4
    )
    asked = top.with_columns(user=histories["user"].gather(top["query"])).sort("user", "rank")
    found = scores(tmp_path / "scores").sort("user", "rank")
    assert found["item"].equals(asked["item"])
    blind = model.recommend(histories["item"].to_list(), k=4)
    assert not blind["item"].equals(top["item"])
