"""The module on the pins of a design, under Icarus Verilog and under Verilator. The tests proper run inside the
simulator: ``answer_cocotb.py``."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from cocotb_tools.runner import get_runner
from conftest import HERE
from simulators import prepare

import virtio_testbench as vtb
from virtio_testbench.vpi import Repeater


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def pins_are_read_and_written_at_each_edge(
    simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(simulator, tmp_path, monkeypatch)
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
