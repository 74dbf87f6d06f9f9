"""What a benchmark is made of: alternatives that run in turn, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Arm:
    """One alternative: a command that prints its figures as JSON, or whose seconds are timed."""

    name: str
    command: tuple[str, ...]
    threads: int = 1
    prints: bool = True

    @property
    def available(self) -> bool:
        return Path(self.command[0]).exists()

    def run(self) -> dict[str, Any]:
        count = str(self.threads)
        threads = {f"{name}_NUM_THREADS": count for name in ("OMP", "MKL", "OPENBLAS")}
        threads["POLARS_MAX_THREADS"] = count
        begin = time.perf_counter()
        done = subprocess.run(
            self.command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begin
        if done.returncode:
            sys.exit(f"{self.name} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1]) if self.prints else {"seconds": [seconds]}


def script(name: str, python: Path, file: str, *, threads: int = 1, **task: Any) -> Arm:
    return Arm(name, (str(python), f"benchmarks/{file}", json.dumps(task)), threads)


@dataclass(frozen=True)
class Benchmark:
    """What runs in turn, ours first, how often, and on which file.

    ``arms(file, round)`` gives the arms of a round, the file as seen from the repository. Long
    benchmarks run only when named.
    """

    arms: Callable[[str, int], list[Arm]]
    rounds: int
    file: Callable[[], Path] | None = None
    long: bool = False
