"""Free memory of this machine and of a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def free_memory() -> int | None:
    """Return the free memory of this machine in bytes, or None where it cannot be told."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def available_bytes(device: torch.device) -> int | None:
    """Return the free memory of ``device``, or None where it cannot be told."""
    if device.type != "cuda":
        return free_memory()
    from torch.cuda import mem_get_info

    return mem_get_info(device)[0]
