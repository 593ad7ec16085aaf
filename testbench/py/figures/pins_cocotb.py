"""Runs inside the simulator: what an edge costs with nobody at the pins, with the bench, and with a driver of pins in
plain Python. CPU seconds; started by ``pins.py``."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from virtio_testbench.cocotb import Bench

CYCLES = int(os.environ.get("VTB_CYCLES", "20000"))
PERIOD_NS = 4
QUIET = ("rx_valid_i", "rx_sop_i", "rx_eop_i", "rx_data_i", "rx_keep_i", "tx_ready_i")
CREDITS = ("ph", "pd", "nph", "npd", "cplh", "cpld")
figures: dict[str, float] = {}


async def cycles_per_s(name: str) -> None:
    started = time.process_time()
    await Timer(PERIOD_NS * CYCLES, "ns")
    figures[name] = CYCLES / (time.process_time() - started)


async def out_of_reset(dut: Any) -> None:
    dut.rst_ni.value = 0
    for port in QUIET:
        getattr(dut, port).value = 0
    for credit in CREDITS:
        getattr(dut, f"tx_credit_{credit}_i").value = 0
    await Timer(5 * PERIOD_NS, "ns")
    dut.rst_ni.value = 1
    await Timer(5 * PERIOD_NS, "ns")


class Plain:
    """TLPs on the pins, in Python, as one writes it down: what comes out is collected, what goes in is offered."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.beats: list[tuple[int, bool]] = []
        self.collected: list[int] = []
        self.offered = False

    async def serve(self) -> None:
        dut = self.dut
        dut.tx_ready_i.value = 1
        while True:
            await RisingEdge(dut.clk_i)
            if dut.tx_valid_o.value:
                self.collected.append(int(dut.tx_data_o.value))
                if dut.tx_eop_o.value:
                    self.collected.clear()
            if self.offered and dut.rx_ready_o.value:
                self.beats.pop(0)
                self.offered = False
            if self.beats and not self.offered and dut.rx_np_ok_o.value:
                data, last = self.beats[0]
                dut.rx_data_i.value = data
                dut.rx_eop_i.value = last
                self.offered = True
            dut.rx_valid_i.value = self.offered
            for credit in CREDITS:
                getattr(dut, f"tx_credit_{credit}_i").value = 127


@cocotb.test()
async def with_nobody_at_the_pins(dut: Any) -> None:
    cocotb.start_soon(Clock(dut.clk_i, PERIOD_NS, "ns").start())
    await out_of_reset(dut)
    await cycles_per_s("cycles_per_s_clock_alone")


@cocotb.test()
async def with_plain_python(dut: Any) -> None:
    cocotb.start_soon(Clock(dut.clk_i, PERIOD_NS, "ns").start())
    await out_of_reset(dut)
    cocotb.start_soon(Plain(dut).serve())
    await cycles_per_s("cycles_per_s_plain_python")


@cocotb.test()
async def with_the_bench(dut: Any) -> None:
    cocotb.start_soon(Clock(dut.clk_i, PERIOD_NS, "ns").start())
    bench = Bench(dut, card={"device": "blk", "disk_sectors": 2048})
    await bench.config.read32(0)
    await cycles_per_s("cycles_per_s_bench")
    await bench.probe()
    await bench.tlp.record()

    async def reader(first: int) -> None:
        for number in range(8):
            await bench.blk.write((first * 8 + number) % 2048, b"x" * 512)

    before, started = bench.edges, time.process_time()
    for task in [cocotb.start_soon(reader(first)) for first in range(32)]:
        await task
    seconds = time.process_time() - started
    figures["cycles_per_s_bench_busy"] = (bench.edges - before) / seconds
    figures["requests_per_s_bench"] = 32 * 8 / seconds
    reads = sum(tlp.up and tlp.text.startswith("MRd") for tlp in await bench.tlp.recorded())
    figures["dma_reads_per_s_bench"] = reads / seconds


@cocotb.test()
async def all_figures(dut: Any) -> None:
    await Timer(1, "ns")
    with open("figures.json", "w") as out:
        json.dump(figures, out)
