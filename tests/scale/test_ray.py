"""Ray writes what the stream writes, also when a process of it is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

import modicum as mo
from modicum.cli.runs import fingerprint
from modicum.errors import MissingExtraError
from modicum.scale import on_ray
from modicum.scale.jobs import Ask
from modicum.scale.score import score

from .conftest import ROLES

PATIENCE_S = 540
SHARDS = 60

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra scale is not installed")


def actors(root: int) -> list[int]:
    """Return the processes of the actor pool among those that descend from ``root``."""
    parents, named = {}, []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "stat").read_text().rpartition(")")[2].split()
            parents[int(process.name)] = int(status[1])
            if b"MapWorker" in (process / "cmdline").read_bytes():
                named.append(int(process.name))
        except OSError:
            continue

    def descends(process: int) -> bool:
        return process == root or (process in parents and descends(parents[process]))

    return [process for process in named if descends(process)]


@needs_ray
def test_ray_writes_the_bytes_of_the_stream_though_a_worker_is_killed(model, events, tmp_path):
    out = tmp_path / "ray"
    command = [sys.executable, "-m", "modicum", "score", str(model), str(events), "--out", str(out)]
    command += [word for role, name in ROLES.items() for word in (f"--{role}", name)]
    command += ["--engine", "ray", "--workers", "2", "--partitions", str(SHARDS)]
    run = subprocess.Popen(
        command,
        env=os.environ | {"RAY_worker_niceness": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not list(out.glob("part-*")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    killed = actors(run.pid)
    os.kill(killed[0], signal.SIGKILL)
    left = SHARDS - len(list(out.glob("part-*")))
    said, errors = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, errors
    assert len(killed) in (1, 2) and left > 0
    log = mo.read_events(events, **ROLES)
    stream = tmp_path / "stream"
    done = score(
        model,
        log,
        stream,
        Ask(),
        digest=fingerprint(str(events)),
        partitions=SHARDS,
        progress=False,
    )
    assert f"{done.rows:,} scores of {done.users:,} users" in said
    names = {path.name for path in stream.iterdir()}
    assert {path.name for path in out.iterdir()} == names
    for name in names - {"manifest.json"}:
        assert (out / name).read_bytes() == (stream / name).read_bytes()


def test_without_ray_the_extra_is_named(model, log, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"modicum\[scale\]"):
        score(model, log, tmp_path / "out", digest="", engine="ray", progress=False)


def test_the_error_of_a_worker_is_ours_again():
    ours = MissingExtraError("serve", "x", "y")
    wrapped = RuntimeError("worker died")
    wrapped.__cause__ = RuntimeError("task failed")
    wrapped.__cause__.cause = ours
    assert on_ray._cause(wrapped) is ours
    assert "worker died" in str(on_ray._cause(RuntimeError("worker died")))
