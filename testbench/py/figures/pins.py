"""What the bench costs at the pins of a design, in each simulator: a line of JSON each. ``scripts/bench-py``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from simulators import build, outcome, prepare  # noqa: E402

import virtio_testbench as vtb  # noqa: E402


def figures(simulator: str) -> dict[str, float]:
    """Figures of one simulator."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        prepare(simulator, folder, patch)
        design = vtb.design(HERE.parents[2] / "rtl-model/reference.toml", only="host/direct/blk/x86-noiommu")
        design["parameters"].update(W=64, DISK_SECTORS=2048)
        build(simulator, design, folder / "build")
        failed = outcome(simulator, design["top"], "pins_cocotb", folder / "build", folder)
        assert not any(failed.values()), failed
        found: dict[str, float] = json.loads((folder / "figures.json").read_text())
        return found


if __name__ == "__main__":
    for simulator in sys.argv[1:] or ["verilator", "icarus"]:
        line = {name: round(value) for name, value in figures(simulator).items()}
        print(json.dumps({"simulator": simulator, **line}), file=sys.stderr)
