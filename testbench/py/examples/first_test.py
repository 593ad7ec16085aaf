"""A first test of a card: the driver takes it over, a sector is written and read back. By pytest, or by make."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb_tools.runner import get_runner

import virtio_testbench as vtb
from virtio_testbench.cocotb import Bench


@cocotb.test()
async def a_sector_is_read_back(dut):
    cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
    bench = Bench(dut, card={"device": "blk", "disk_sectors": 2048})
    await bench.probe()
    await bench.blk.write(5, bytes(range(256)) * 2)
    assert await bench.blk.read(5) == bytes(range(256)) * 2


def test_the_card():
    card = vtb.design("../../../rtl-model/reference.toml", only="host/direct/blk/x86-noiommu")
    runner = get_runner(os.environ.get("SIM", "icarus"))
    parameters = {**card["parameters"], "W": 64, "DISK_SECTORS": 2048}
    runner.build(sources=card["files"], hdl_toplevel="virtio_card", parameters=parameters, timescale=("1ns", "1ps"))
    runner.test(hdl_toplevel="virtio_card", test_module="first_test")
