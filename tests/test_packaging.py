"""The container file and the systemd units: what they call exists, and what they promise holds."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from modicum.cli.app import app
from modicum.data.simulate import simulate_markov

ROOT = Path(__file__).parents[1]
CONTAINER = (ROOT / "Containerfile").read_text(encoding="utf-8")
UNITS = sorted((ROOT / "packaging").iterdir())
WITHOUT_TORCH = {"torch", "safetensors", "onnxscript"}
"""What the image that serves leaves out of the package's own dependencies."""


def stages() -> dict[str, list[str]]:
    """Return stage -> its instructions, each in one line."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", CONTAINER, flags=re.MULTILINE))
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, joined.splitlines())):
        if line.startswith("FROM "):
            name = line.rpartition(" AS ")[2]
            found[name] = []
        found[name].append(line)
    return found


def unit(name: str) -> configparser.SectionProxy:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read(ROOT / "packaging" / name)
    return parsed["Service"]


def value(stage: str, instruction: str) -> list[str]:
    (line,) = (x for x in stages()[stage] if x.startswith(f"{instruction} "))
    return json.loads(line.removeprefix(f"{instruction} "))


@pytest.mark.parametrize("stage", ["serve", "work"])
def test_what_an_image_calls_exists(stage):
    assert value(stage, "ENTRYPOINT") == ["modicum"]
    app.parse_args(value(stage, "CMD"))
    lines = stages()[stage]
    assert lines.index("USER modicum") > max(n for n, x in enumerate(lines) if x[:4] == "RUN ")


def test_every_stage_is_built_on_another_and_what_is_copied_is_there():
    known: set[str] = set()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name, lines in stages().items():
        base = lines[0].split()[1]
        assert base in known or re.fullmatch(r"python:3\.\d+-slim", base)
        known.add(name)
        for line in lines:
            assert line.split()[0] in {
                *("FROM", "ARG", "ENV", "RUN", "WORKDIR", "VOLUME", "COPY", "USER"),
                *("EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
            }
            if line.startswith("COPY "):
                *sources, _ = line.split()[1:]
                if sources[0].startswith("--from="):
                    assert sources[0].removeprefix("--from=") in known
                    continue
                for source in sources:
                    assert (ROOT / source).exists() and f"!{source}" in ignored


def test_the_image_that_serves_has_what_the_package_needs_but_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    names = {re.split(r"[\[<>=~!;]", name)[0] for name in wanted}
    (run,) = (line for line in stages()["serve"] if line.startswith("RUN "))
    first = run.split("&&")[0].split("constraints.txt")[1]
    assert set(first.split()) == names - WITHOUT_TORCH


def test_an_export_is_served_without_what_that_image_lacks(tmp_path):
    import modicum as mo
    from modicum.compression.onnx import export

    model = mo.Popularity().fit(simulate_markov(9, 5, events_per_user=6.0, seed=0).log)
    (tmp_path / "run").mkdir()
    export(model, tmp_path / "run" / "onnx")
    (tmp_path / "current").symlink_to("run")
    program = f"""
import sys
sys.modules |= dict.fromkeys({sorted(WITHOUT_TORCH)})
import uvicorn
from fastapi.testclient import TestClient
def run(app, **_):
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").status_code == 200
        print(client.post("/recommend", json={{"history": [1], "k": 2}}).json()["source"])
uvicorn.run = run
from modicum.cli.app import main
sys.exit(main(["serve", "current/onnx", "--store", "history.sqlite"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "model"


@pytest.mark.parametrize("name", ["modicum.service", "modicum-watch.service"])
def test_what_a_unit_calls_exists_and_is_confined(name):
    service = unit(name)
    program, *tokens = shlex.split(service["ExecStart"])
    assert Path(program).is_absolute() and Path(program).name == "modicum"
    app.parse_args(tokens)
    assert service["DynamicUser"] == "yes" and service["StateDirectory"] == "modicum"
    assert service["ProtectSystem"] == "strict" and service["NoNewPrivileges"] == "yes"
    assert service["CapabilityBoundingSet"] == ""


def test_exit_codes_that_are_no_failure_are_said_to_be_none():
    from modicum.cli.watch import BUSY, NOT_PROMOTED

    wanted = {str(NOT_PROMOTED), str(BUSY)}
    assert set(unit("modicum-watch.service")["SuccessExitStatus"].split()) == wanted


def test_systemd_understands_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for path in UNITS:
        text = path.read_text().replace("/opt/modicum/bin/modicum", shutil.which("true") or "")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line]
