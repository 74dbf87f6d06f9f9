import json

import modicum as mo
from modicum.cli import demo
from modicum.cli.app import main


def test_the_demo_leaves_models_reports_a_table_and_pages(events, tmp_path, monkeypatch, capsys):
    def sample(name: str):
        assert name == demo.SAMPLE
        return mo.read_events(events, user="uid", item="sku", time="ts")

    monkeypatch.setitem(vars(mo), "load_sample", sample)
    monkeypatch.setattr(demo, "TRAINING", {"length": 10})
    monkeypatch.setattr(demo, "EPOCHS", {"sasrec": 1, "teacher": 1, "slmrec": 1})
    monkeypatch.setattr(demo, "TEACHER", {"layers": 2, "width": 8, "heads": 1})
    assert main(["demo", "--out", str(tmp_path)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert {"report.html", "audit.html", "results.json"} <= {p.name for p in tmp_path.iterdir()}
    table = json.loads((tmp_path / "results.json").read_text())["table"]
    assert {row["report"] for row in table} == {"popularity", "sasrec", "teacher", "slmrec"}
    assert all(row["low"] <= row["mean"] <= row["high"] for row in table if row["low"] is not None)
    assert mo.load(tmp_path / "slmrec").recommend(histories=[["sku-1"]], k=1).height == 1
