"""``modicum fit --workers 2`` learns what one process does, and stops and fails as it does."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

import modicum as mo
from modicum.cli.app import main

PATIENCE_S = 300
TINY = "--length 8 --dim 8 --layers 1 --batch-size 32 --dropout 0 --head float32 --device cpu"


def tokens(events: Path, out: Path, *more: str) -> list[str]:
    roles = ["--user", "uid", "--item", "sku", "--time", "ts", "--out", str(out)]
    return ["fit", "sasrec", str(events), *roles, *TINY.split(), *more]


def started(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "modicum", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def losses(out: Path) -> list[float]:
    return [record["losses"]["softmax"] for record in mo.load(out).training_log]


def test_two_workers_reach_the_loss_of_one_process_with_their_whole_batch(events, tmp_path):
    both = started(*tokens(events, tmp_path / "two", "--epochs", "3", "--workers", "2"))
    said, errors = both.communicate(timeout=PATIENCE_S)
    assert both.returncode == 0, errors
    assert said.count("saved in") == 1 and errors.count("epoch 3/3") == 1
    assert main(tokens(events, tmp_path / "one", "--epochs", "3")) == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert main(tokens(events, tmp_path / "two", "--epochs", "3")) == 0, "it is the same run"


def test_ctrl_c_stops_all_of_them_and_one_process_goes_on(events, tmp_path):
    run = started(
        *tokens(events, tmp_path / "run", "--epochs", "3000", "--patience", "0", "--workers", "2")
    )
    checkpoint = tmp_path / "run" / "checkpoint" / "checkpoint.safetensors"
    deadline = time.monotonic() + PATIENCE_S
    while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 130, errors
    assert errors.count("the same command goes on from there") == 1 and "Traceback" not in errors
    with safe_open(checkpoint, framework="pt") as file:
        assert '"steps": ' in file.metadata()["progress"]


def test_an_error_of_the_workers_is_told_once_and_ends_the_command(events, tmp_path):
    words = tokens(events, tmp_path / "run", "--target-domain", "sports", "--workers", "2")
    done = started(*words)
    _, errors = done.communicate(timeout=PATIENCE_S)
    assert done.returncode == 2
    assert errors.count("modicum: error:") == 1 and "Traceback" not in errors


def test_workers_need_the_command_line(events, tmp_path, capsys):
    assert main(tokens(events, tmp_path / "run", "--workers", "2")) == 2
    assert "--workers 2 starts this very command again" in capsys.readouterr().err
    assert main(tokens(events, tmp_path / "run", "--workers", "0")) == 2
    assert "--workers 0 must be 1 or more" in capsys.readouterr().err
