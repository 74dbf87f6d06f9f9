"""``--workers N``: the same command in several processes that ``torchrun``'s launcher starts."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import modicum
from modicum.errors import ResourceError, SettingError


def starts_others(workers: int) -> bool:
    """Tell whether this process is to start others; those that it starts are told so by torch.

    Raises:
        SettingError: it cannot.
    """
    if workers < 1:
        raise SettingError(f"workers={workers} must be 1 or more")
    if workers == 1 or "WORLD_SIZE" in os.environ:
        return False
    program = Path(sys.argv[0])
    if program.stem != "modicum" and program != Path(modicum.__file__).with_name("__main__.py"):
        raise SettingError(
            f"workers={workers} starts this very command again, and this process was not started "
            "by it; call it as modicum fit ..."
        )
    return True


def run_again(workers: int) -> int:
    """Run this process's command line in ``workers`` processes; return what the first returned.

    The first one prints and saves. Ctrl-C stops all of them after the same batch. They meet in
    files, because torch's own store would listen on every address of the machine.

    Raises:
        ResourceError: a process was ended from outside.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import (
        DefaultLogsSpecs,
        SignalException,
        Std,
    )
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    from modicum.training.processes import STORE

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // workers)))
    for name in ("agent.server.api", "multiprocessing.api"):
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="modicum-") as folder:
        os.environ[STORE] = str(Path(folder, "store"))
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=workers,
            run_id="modicum",
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder, "rendezvous")),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=0,
            monitor_interval=0.1,
            logs_specs=DefaultLogsSpecs(
                log_dir=folder, redirects=dict.fromkeys(range(1, workers), Std.ALL)
            ),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "modicum", *sys.argv[1:])
        except SignalException as stop:  # the first process has said what is kept
            return 128 + stop.sigval
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode < 0:
                raise ResourceError(
                    f"process {rank} of {workers} was ended by signal {-failure.exitcode}; what "
                    "was learnt is kept, and the same command goes on from there"
                ) from None
            if 0 not in error.failures:
                for log in sorted(Path(folder).rglob(f"{rank}/stderr.log")):
                    print(log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
            return failure.exitcode
    return 0
