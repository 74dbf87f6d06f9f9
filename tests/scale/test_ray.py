"""Ray writes what the stream writes, also when a process of it is killed on the way."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
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


@pytest.fixture
def cluster(tmp_path_factory):
    """A cluster of two nodes that are started by Ray's own command, and what who joins must know."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path must be short
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    every = ["--block", "--num-cpus", "1", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    head = ["--head", "--port", address.rpartition(":")[2], "--temp-dir", folder]
    nodes = []
    try:
        for own in ([*head, "--include-dashboard=false"], ["--address", address]):
            log = tmp_path_factory.mktemp("node") / "log"
            with log.open("w") as out:
                command = [sys.executable, "-m", "ray.scripts.scripts", "start", *own, *every]
                node = subprocess.Popen(
                    command, env=os.environ | secret, stdout=out, stderr=out, start_new_session=True
                )
            nodes.append(node)
            deadline = time.monotonic() + PATIENCE_S
            while "Ray runtime started" not in (said := log.read_text()):
                assert node.poll() is None and time.monotonic() < deadline, said
                time.sleep(0.1)
        yield address, secret
    finally:
        for node in reversed(nodes):
            os.killpg(node.pid, signal.SIGKILL)
            node.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


@needs_ray
def test_a_cluster_that_others_started_writes_the_bytes_of_the_stream(
    model, events, log, tmp_path, cluster
):
    address, secret = cluster
    out, stream = tmp_path / "ray", tmp_path / "stream"
    command = [sys.executable, "-m", "modicum", "score", str(model), str(events), "--out", str(out)]
    command += [word for role, name in ROLES.items() for word in (f"--{role}", name)]
    command += ["--engine", "ray", "--cluster", address, "--partitions", "4"]
    for environment, code in (({"RAY_AUTH_TOKEN": "0" * 64}, 2), ({}, 0)):
        done = subprocess.run(
            command,
            env=os.environ | secret | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, done.stderr
    score(model, log, stream, Ask(), digest=fingerprint(str(events)), partitions=4, progress=False)
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
