"""What the tests share. A missing tool is a failure, never a skipped test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TOP = HERE.parents[2]


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``vtb``: the one that ``VTB_COMMAND`` names, or that of the last build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    built = [path for path in (target / "debug/vtb", target / "release/vtb") if path.is_file()]
    newest = max(built, key=lambda path: path.stat().st_mtime, default=None)
    program = os.environ.get("VTB_COMMAND") or newest or shutil.which("vtb")
    assert program, "vtb is not built: cargo build"

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A scenario of four runs that take no time."""
    path = tmp_path / "small.toml"
    path.write_text(
        """
name = "small"
seed = 7
platforms = ["x86-noiommu", "x86-vtd"]
[matrix]
devices = ["net", "blk"]
rings = ["host"]
layouts = ["direct"]
event_idx = [false]
[net]
synthetic = { packets = 20, bytes = 100 }
[blk]
disk_size = "1 MiB"
synthetic = { requests = 20, bytes = 512 }
"""
    )
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text())
