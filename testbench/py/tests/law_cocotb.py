"""Runs inside the simulator: a whole scenario on the reference RTL, traced. Started by
``bench_in_a_simulator_test.py``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock

from virtio_testbench.cocotb import Bench


@cocotb.test()
async def a_whole_scenario_is_run_and_traced(dut: Any) -> None:
    manifest, scenario = os.environ["VTB_MANIFEST"], os.environ["VTB_SCENARIO"]
    bench = Bench(dut, manifest=manifest, scenario=scenario, trace="trace")
    cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
    report = await bench.run()
    assert report["violations"] == [] and bench.violations == []
    Path("report.json").write_text(json.dumps(report))
