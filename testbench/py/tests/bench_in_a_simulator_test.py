"""The bench on the pins of the reference RTL, under Icarus Verilog and under Verilator. The tests proper run inside
the simulator: ``card_cocotb.py``, ``cable_cocotb.py``."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TOP
from simulators import build, outcome, prepare

import virtio_testbench as vtb
from virtio_testbench import _native

SECTORS = 2048
SCENARIO = """
name = "law"
seed = 3
platforms = ["x86-vtd"]
[matrix]
devices = ["blk"]
rings = ["host"]
layouts = ["direct"]
event_idx = [true]
[driver]
queue_depth = 4
[blk]
synthetic = { requests = 12, bytes = 1536 }
"""


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A manifest of the reference RTL with a narrow datapath and a small disk, and a scenario."""
    folder = tmp_path_factory.mktemp("card")
    text = (TOP / "rtl-model/reference.toml").read_text()
    text = text.replace('"rtl/', f'"{TOP}/rtl-model/rtl/').replace("W = 256", "W = 64")
    (folder / "card.toml").write_text(text.replace("disk_sectors = 131072", f"disk_sectors = {SECTORS}"))
    (folder / "law.toml").write_text(SCENARIO)
    return folder / "card.toml", folder / "law.toml"


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def the_bench_holds_its_laws_and_does_what_it_does_without_the_simulator(
    simulator: str,
    card: tuple[Path, Path],
    command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    prepare(simulator, tmp_path, monkeypatch)
    manifest, scenario = card
    design = vtb.design(manifest, scenario)
    build(simulator, design, tmp_path / "build")
    failures = outcome(
        simulator,
        design["top"],
        "card_cocotb",
        tmp_path / "build",
        tmp_path,
        extra_env={"VTB_SECTORS": str(SECTORS), "VTB_MANIFEST": str(manifest), "VTB_SCENARIO": str(scenario)},
    )
    out = capfd.readouterr().out
    print(out)
    assert {name: why for name, why in failures.items() if why} == {}, out
    assert len(failures) >= 10, out
    # The same transactions in the same cycles as where Verilator is turned from Rust.
    traced = command("run", scenario, "--card", f"rtl:{manifest}", "--trace", tmp_path / "vtb")
    assert traced.returncode == 0, traced.stdout + traced.stderr
    ours = (tmp_path / "vtb").read_text().splitlines()[1:]
    theirs = (tmp_path / "trace").read_text().splitlines()
    assert len(ours) > 300
    first = [pair for pair in zip(ours, theirs) if pair[0] != pair[1]][:1]
    assert not first and len(ours) == len(theirs), first


def outside_a_simulator_the_bench_says_so() -> None:
    with pytest.raises(vtb.InputError, match="there is no simulator here: `vpi_register_cb`"):
        _native.Bench("{}")


def a_design_that_needs_several_builds_is_refused(card: tuple[Path, Path]) -> None:
    told: dict[str, Any] = vtb.design(card[0], only="host/direct/blk/x86-vtd")
    assert told["top"] == "virtio_card" and told["period_ps"] == 4000
    assert told["parameters"]["DISK_SECTORS"] == SECTORS and told["parameters"]["W"] == 64
    with pytest.raises(vtb.InputError, match="need different parameters"):
        vtb.design(card[0])
