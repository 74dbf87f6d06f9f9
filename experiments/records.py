"""Records of experiments: where a figure comes from, files that are never half written, and pages."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("modicum", "torch", "numpy", "polars")


def origin(*packages: str) -> dict[str, Any]:
    """Return when, from which commit, with which versions and on what a record is being made.

    Args:
        packages: those beside modicum, torch, numpy and polars that its figures depend on.
    """
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {name: version(name) for name in (*PACKAGES, *packages)}
        | {"python": platform.python_version()},
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        },
    }


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write aside, then rename, so that a kill leaves no half of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def filled(page: str, name: str, section: str) -> str:
    """Return a page with ``section`` between ``<!-- name -->`` and ``<!-- end of name -->``.

    >>> filled("a <!-- x --> old <!-- end of x --> b", "x", "new").split()
    ['a', '<!--', 'x', '-->', 'new', '<!--', 'end', 'of', 'x', '-->', 'b']
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{section}\n{end}{rest.partition(end)[2]}"


def _commit() -> str:
    """Return the commit, marked dirty if what computes differs from it; records and pages may."""
    computes = ["src", "experiments/*.py", "experiments/*.toml", "experiments/studies"]
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit + ("-dirty" if _git("status", "--porcelain", "--", *computes) else "")


def _git(*call: str) -> str:
    here = Path(__file__).parent.parent
    done = subprocess.run(["git", *call], cwd=here, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
