"""``modicum watch``: what is promoted, what is not, and what a kill leaves."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import modicum as mo
from modicum.cli import watch as module
from modicum.cli.app import main
from modicum.cli.life import Life
from modicum.cli.runs import Run

START, DAY = 1_700_000_000, 86_400
USERS, ITEMS = 160, 61


def walk(
    days: range, step: int = 1, users: int = USERS, sure: float = 0.8, many: int = 2
) -> pl.DataFrame:
    """Users who move on by ``step`` round a ring of items ``many`` times a day, or at times jump."""
    rng, count = np.random.default_rng(days.start), many * len(days)
    jumps = rng.integers(ITEMS, size=(users, count))
    steps = np.where(rng.random((users, count)) < sure, step, jumps)
    items = (np.arange(users)[:, None] + steps.cumsum(1)).ravel() % ITEMS
    user, place = np.repeat(np.arange(users), count), np.tile(np.arange(count), users)
    times = START + days.start * DAY + place * DAY // many + user
    return pl.DataFrame({"uid": user, "sku": [f"sku-{n}" for n in items], "ts": times})


def write(path: Path, *parts: pl.DataFrame) -> Path:
    pl.concat(parts).sort("ts").write_csv(path)
    return path


def first_run(folder: Path, method: str = "transitions", *more: str) -> Path:
    """Fit a run on ten days of events, and make it the live one; return the link."""
    events = write(folder / "events.csv", walk(range(10)))
    roles = ["--user", "uid", "--item", "sku", "--time", "ts"]
    out = folder / "runs" / "first"
    assert main(["fit", method, str(events), *roles, "--out", str(out), *more]) == 0
    link = folder / "runs" / "current"
    link.symlink_to("first")
    return link


def lines(link: Path) -> list[dict]:
    text = (link.parent / "watch.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def link(tmp_path) -> Path:
    return first_run(tmp_path)


@pytest.fixture
def changed(link) -> Path:
    """The events after users have taken to other steps: what is live is wrong about them."""
    return write(link.parents[1] / "events.csv", walk(range(10)), walk(range(10, 22), step=23))


def test_a_better_model_is_promoted_and_judged_on_what_neither_knew(link, changed, capsys):
    known = mo.load(link).lineage["split"]["test from"]
    assert main(["watch", str(link)]) == 0
    assert "is live" in capsys.readouterr().out
    new = link.resolve()
    assert new.parent == link.parent.resolve() and not link.readlink().is_absolute()
    (line,) = lines(link)
    assert (line["decision"], line["before"], line["live"]) == ("promoted", "first", new.name)
    assert line["new"] == new.name and line["judged from"] > known
    judged = line["judged"]
    assert judged["n"] == USERS and judged["bound"] > 0 and judged["low"] < judged["high"]
    model, report = mo.load(new), mo.Report.load(new / "report")
    assert report.protocol["test from"] == line["judged from"]
    assert model.lineage["split"]["validation from"] > known
    assert mo.Report.load(new / "report-of-live").differences(report) == []
    assert Run.read(new).is_in(new)
    assert main(["evaluate", str(link)]) == 0


def test_the_live_model_is_judged_by_the_newer_half_of_what_it_does_not_know(link, changed):
    log = mo.read_events(changed, user="uid", item="sku", time="ts")
    run, model = Run.read(link), mo.load(link)
    shares = module.judged_shares(log, run, model)
    parts = mo.split(log, **shares)
    since = np.datetime64(model.lineage["split"]["test from"], "us").astype(int)
    times = parts.test.histories.times
    new = (times >= since).sum()
    assert abs(len(parts.test) - new / 2) <= 2 and abs(len(parts.validation) - new / 4) <= 2
    assert times[parts.test.targets].min() > since
    assert parts.train.times.max() < times[parts.validation.targets].min()


def test_one_that_is_not_better_is_not_promoted_and_not_judged_again(tmp_path, capsys):
    link = first_run(tmp_path)
    write(tmp_path / "events.csv", walk(range(14)))
    assert main(["watch", str(link), "--margin", "0"]) == 3
    assert link.resolve().name == "first"
    assert "first stays live" in capsys.readouterr().out
    assert main(["watch", str(link), "--margin", "0"]) == 0
    assert [line["decision"] for line in lines(link)] == ["kept", "waiting"]
    assert main(["watch", str(link), "--margin", "0.1"]) == 0
    assert lines(link)[-1]["decision"] == "promoted"


def test_nothing_new_too_little_and_too_few_users_wait(link, capsys):
    events = link.parents[1] / "events.csv"
    assert main(["watch", str(link)]) == 0
    write(events, walk(range(10)), walk(range(10, 13), users=40, many=9))
    assert main(["watch", str(link)]) == 0
    assert [line["decision"] for line in lines(link)] == ["waiting"] * 2
    assert "nothing is new" in lines(link)[0]["reason"]
    assert "too few to judge by" in lines(link)[1]["reason"]
    assert [path.name for path in link.parent.glob("2*")] == []


def test_a_model_taken_back_by_hand_does_not_come_again_by_itself(link, changed):
    assert main(["watch", str(link)]) == 0
    link.unlink()
    link.symlink_to("first")
    assert main(["watch", str(link)]) == 0
    assert lines(link)[-1]["decision"] == "waiting" and link.resolve().name == "first"


def test_a_new_model_can_begin_with_nothing(tmp_path):
    small = ["--dim", "8", "--layers", "1", "--heads", "1", "--epochs", "1", "--device", "cpu"]
    link = first_run(tmp_path, "sasrec", *small)
    write(tmp_path / "events.csv", walk(range(14)))
    assert main(["watch", str(link), "--anew", "--margin", "0.9"]) in (0, 3)
    (new,) = link.parent.glob("2*")
    assert "start" not in mo.load(new).lineage and Run.read(new).start is None
    assert mo.load(new).settings() == mo.load(link.parent / "first").settings()


def test_errors_of_the_audit_stop_it(link, capsys):
    write(link.parents[1] / "events.csv", walk(range(14), sure=1.0))
    assert main(["watch", str(link)]) == 1
    assert "ERROR" in capsys.readouterr().out
    (line,) = lines(link)
    assert line["decision"] == "unsound" and "error" in line["audit"].values()
    assert link.resolve().name == "first" and not [*link.parent.glob("2*")]


def test_two_are_not_at_work_at_once(link, changed):
    with Life(link).locked() as alone:
        assert alone
        assert main(["watch", str(link)]) == 4
    assert main(["watch", str(link)]) == 0


def test_a_killed_watch_is_taken_up_and_the_same_comes_out(tmp_path, monkeypatch):
    small = ["--dim", "8", "--layers", "1", "--heads", "1", "--epochs", "2", "--device", "cpu"]
    names, weights = [], []
    for place in ("whole", "cut"):
        (tmp_path / place).mkdir()
        link = first_run(tmp_path / place, "sasrec", *small)
        write(tmp_path / place / "events.csv", walk(range(10)), walk(range(10, 22), step=23))
        if place == "cut":
            for at in ("modicum.methods.recommender.Recommender._validation_value",):
                with monkeypatch.context() as patched:
                    patched.setattr(at, _interrupted)
                    assert main(["watch", str(link)]) == 130
                assert link.resolve().name == "first"
            for step in ("evaluate.REPORT", "life.Life.switch", "life.Life.record"):
                with monkeypatch.context() as patched:
                    if step == "evaluate.REPORT":
                        patched.setattr(mo, "evaluate", _interrupted)
                    else:
                        patched.setattr(f"modicum.cli.{step}", _interrupted)
                    assert main(["watch", str(link)]) == 130
        assert main(["watch", str(link)]) == 0
        names.append(link.resolve().name)
        weights.append((link / "weights.safetensors").read_bytes())
        assert mo.load(link).lineage["start"]["warm starts before it"] == 0
        assert (link.resolve() / "checkpoint").exists() is False
    assert names[0] == names[1] and weights[0] == weights[1]


def _interrupted(*_, **__):
    raise KeyboardInterrupt


def test_old_runs_go_and_the_live_one_stays(link, changed):
    stale = link.parent / "2020-01-01T00-00-00-0123abcd"
    for name in (stale.name, "2020-01-02T00-00-00-0123abcd"):
        (link.parent / name).mkdir()
    (stale / "config.json").write_text("{}")
    assert main(["watch", str(link), "--keep", "1"]) == 0
    left = {path.name for path in link.parent.iterdir() if path.is_dir()}
    assert left == {"first", "current", link.resolve().name}


def test_what_is_exported_of_the_live_one_is_exported_of_the_new(tmp_path):
    link = first_run(tmp_path, "popularity")
    assert main(["export", str(link), "--precision", "int8"]) == 0
    write(tmp_path / "events.csv", walk(range(14)))
    assert main(["watch", str(link), "--margin", "0.9"]) == 0
    from modicum import exported

    assert exported.read(link / "onnx-int8").precision == "int8"


def test_what_cannot_be_watched_says_why(link, tmp_path, capsys):
    assert main(["watch", str(link.resolve())]) == 2
    assert "is no symbolic link" in capsys.readouterr().err
    assert main(["watch", str(link), "--margin", "1"]) == 2
    assert "--margin 1" in capsys.readouterr().err
    (link.parents[1] / "events.csv").unlink()
    assert main(["watch", str(link)]) == 2
    assert lines(link)[-1]["decision"] == "failed"
