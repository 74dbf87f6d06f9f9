"""``modicum score``: stopped and begun again, of files that are empty or of a run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import modicum as mo
from modicum.cli.app import main

PATIENCE_S = 300
SHARDS = 300
ROLES = ["--user", "uid", "--item", "sku", "--time", "ts"]


@pytest.fixture(scope="module")
def run(events, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    assert main(["fit", "transitions", str(events), *ROLES, "--out", str(out)]) == 0
    return out


def test_a_run_knows_the_columns_and_every_user_gets_k_items(run, events, tmp_path, capsys):
    capsys.readouterr()
    assert main(["score", str(run), str(events), "--out", str(tmp_path / "a"), "-k", "3"]) == 0
    assert "360 scores of 120 users in" in capsys.readouterr().out
    scores = pl.read_parquet(tmp_path / "a" / "*.parquet")
    history = pl.read_csv(events).filter(uid=7).sort("ts", maintain_order=True)["sku"].to_list()
    expected = mo.load(run).recommend([history], k=3)
    mine = scores.filter(user=7)
    assert mine["item"].to_list() == expected["item"].to_list()
    assert mine["score"].to_list() == pytest.approx(expected["score"].to_list(), abs=1e-5)


def test_users_without_a_known_item_are_counted_and_marked(run, tmp_path, capsys):
    frame = pl.DataFrame({"uid": [1, 2], "sku": ["sku-1", "never seen"], "ts": [10**9, 10**9]})
    frame.write_parquet(tmp_path / "new.parquet")
    assert (
        main(["score", str(run), str(tmp_path / "new.parquet"), "--out", str(tmp_path / "a")]) == 0
    )
    assert "1 of them have no event of an item that the model knows" in capsys.readouterr().out
    scores = pl.read_parquet(tmp_path / "a" / "*.parquet")
    assert set(scores.filter(user=1)["source"]) == {"model"}
    assert set(scores.filter(user=2)["source"]) == {"popularity"}


def test_a_killed_process_leaves_no_half_file_and_the_next_one_goes_on(run, events, tmp_path):
    out = tmp_path / "killed"
    words = ["score", str(run), str(events), "--partitions", str(SHARDS)]
    killed = subprocess.Popen([sys.executable, "-m", "modicum", *words, "--out", str(out)])
    deadline = time.monotonic() + PATIENCE_S
    while not list(out.glob("part-*")) and time.monotonic() < deadline:
        assert killed.poll() is None
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE_S)
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 0 < len(there) < SHARDS
    for name in there:
        pl.read_parquet(out / name)
    assert main([*words, "--out", str(out)]) == 0
    kept = [name for name, time in there.items() if (out / name).stat().st_mtime_ns == time]
    assert len(kept) >= len(there) - 1, "the last one may not have been told of"
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {path.name for path in out.iterdir()} == names
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--cluster", "here:1"], "--cluster here:1 needs --engine ray"),
        (["-k", "0"], "--k 0 must be 1 or more"),
        (["--target-domain", "sports"], "'sports' is not known"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(run, events, tmp_path, capsys, more, said):
    assert main(["score", str(run), str(events), "--out", str(tmp_path / "a"), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_an_empty_file_and_another_job_are_refused(run, events, tmp_path, capsys):
    empty = tmp_path / "empty.parquet"
    pl.read_csv(events).head(0).write_parquet(empty)
    assert main(["score", str(run), str(empty), "--out", str(tmp_path / "a")]) == 2
    assert "has no data rows" in capsys.readouterr().err
    assert main(["score", str(run), str(events), "--out", str(tmp_path / "a")]) == 0
    assert main(["score", str(run), str(events), "--out", str(tmp_path / "a"), "-k", "2"]) == 2
    assert "10 there, 2 here" in capsys.readouterr().err
