"""``modicum export``: write a saved model for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import modicum as mo


def export(model: Path, *, out: Path | None = None) -> None:
    """Write the user encoder and the item vectors of a saved model for ONNX Runtime.

    The export is checked against the model before it is kept.

    Args:
        model: a folder that ``modicum fit`` or ``model.save`` has written.
        out: where the export goes; if not given, the folder ``onnx`` in that of the model.
    """
    from modicum.compression import onnx

    folder = onnx.export(mo.load(model), out or model / "onnx")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"exported to {folder}, {size / 2**20:.1f} MiB: {onnx.ENCODER} and {onnx.ITEMS}")
