"""``modicum export``: write a saved model for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from modicum.cli.runs import load_recommender


def export(
    model: Path, *, precision: Literal["float32", "int8"] = "float32", out: Path | None = None
) -> None:
    """Write the user encoder and the item vectors of a saved model for ONNX Runtime.

    The export is checked against the model before it is kept.

    Args:
        model: a folder that ``modicum fit`` or ``model.save`` has written.
        precision: of what is written; int8 takes about a quarter of the bytes.
        out: where the export goes; if not given, the folder ``onnx``, at int8 ``onnx-int8``, in
            that of the model.
    """
    from modicum.bundle import WEIGHTS
    from modicum.compression import onnx
    from modicum.exported import FILES

    default = model / ("onnx" if precision == "float32" else f"onnx-{precision}")
    folder = onnx.export(load_recommender(model), out or default, precision)
    print(f"exported to {folder} at {precision}, in MiB:")
    names = [name for name in FILES if (folder / name).exists()]
    sizes = {name: (folder / name).stat().st_size for name in names}
    weights = (model / WEIGHTS).stat().st_size
    sizes |= {"together": sum(sizes.values()), f"for comparison, {WEIGHTS}": weights}
    for name, size in sizes.items():
        print(f"  {size / 2**20:9.2f}  {name}")
