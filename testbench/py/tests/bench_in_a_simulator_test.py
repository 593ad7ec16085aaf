"""The bench on the pins of the reference RTL, under Icarus Verilog and under Verilator. The tests proper run inside
the simulator: ``card_cocotb.py``, ``cable_cocotb.py``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import HERE, TOP, read
from simulators import build, outcome, prepare

import virtio_testbench as vtb
from virtio_testbench import _native

EXAMPLES = HERE.parent / "examples"
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


class Built(NamedTuple):
    """The reference RTL as a disk, built by a simulator."""

    simulator: str
    folder: Path
    environment: dict[str, str]


@pytest.fixture(scope="module", params=["icarus", "verilator"])
def built(request: pytest.FixtureRequest, card: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp(request.param)
    manifest, scenario = card
    with pytest.MonkeyPatch.context() as patch:
        prepare(request.param, folder, patch)
        build(request.param, vtb.design(manifest, scenario), folder / "build")
        known = {"VTB_SECTORS": str(SECTORS), "VTB_MANIFEST": str(manifest), "VTB_SCENARIO": str(scenario)}
        yield Built(request.param, folder / "build", known)


def _run(module: str, built: Built, folder: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, str | None]:
    failures = outcome(built.simulator, "virtio_card", module, built.folder, folder, extra_env=built.environment)
    out = capfd.readouterr().out
    print(out)
    assert {name: why for name, why in failures.items() if why} == {}, out
    return failures


def the_bench_holds_its_laws_in_a_simulator(
    built: Built, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(_run("card_cocotb", built, tmp_path, capfd)) >= 10


def a_scenario_is_the_same_to_the_cycle_whoever_turns_the_clock(
    built: Built,
    card: tuple[Path, Path],
    command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert len(_run("law_cocotb", built, tmp_path, capfd)) == 1
    manifest, scenario = card
    traced = command("run", scenario, "--card", f"rtl:{manifest}", "--trace", tmp_path / "vtb", "--json", tmp_path / "json")
    assert traced.returncode == 0, traced.stdout + traced.stderr
    ours = (tmp_path / "vtb").read_text().splitlines()[1:]
    theirs = (tmp_path / "trace").read_text().splitlines()
    assert len(ours) > 300
    first = [pair for pair in zip(ours, theirs) if pair[0] != pair[1]][:1]
    assert not first and len(ours) == len(theirs), first
    assert read(tmp_path / "json")["results"] == read(tmp_path / "report.json")["results"]


@pytest.mark.parametrize("example", ["first_test", "error_test", "random_test"])
def an_example_passes(
    example: str, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    assert _run(example, built, tmp_path, capfd)


def an_example_runs_by_pytest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("icarus", tmp_path, monkeypatch)
    folder = tmp_path / "testbench/py/examples"
    shutil.copytree(EXAMPLES, folder)
    (tmp_path / "rtl-model").symlink_to(TOP / "rtl-model")
    _done([sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "first_test.py"], folder)


def an_example_runs_by_the_classic_makefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("icarus", tmp_path, monkeypatch)
    folder = tmp_path / "testbench/py/examples"
    shutil.copytree(EXAMPLES, folder)
    (tmp_path / "rtl-model").symlink_to(TOP / "rtl-model")
    _done(["make", "SIM=icarus"], folder)
    assert "<failure" not in (folder / "results.xml").read_text()


def _done(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def packets_go_round_in_a_simulator(
    card: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare("icarus", tmp_path, monkeypatch)
    design = vtb.design(card[0], only="host/direct/net/x86-noiommu")
    build("icarus", design, tmp_path / "build")
    assert _run("cable_cocotb", Built("icarus", tmp_path / "build", {}), tmp_path, capfd)


def outside_a_simulator_the_bench_says_so() -> None:
    with pytest.raises(vtb.InputError, match="there is no simulator here: `vpi_register_cb`"):
        _native.Bench("{}")


def a_design_that_needs_several_builds_is_refused(card: tuple[Path, Path]) -> None:
    told: dict[str, Any] = vtb.design(card[0], only="host/direct/blk/x86-vtd")
    assert told["top"] == "virtio_card" and told["period_ps"] == 4000
    assert told["parameters"]["DISK_SECTORS"] == SECTORS and told["parameters"]["W"] == 64
    with pytest.raises(vtb.InputError, match="need different parameters"):
        vtb.design(card[0])
