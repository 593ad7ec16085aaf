"""A random regression: seeded reads and writes against a copy, faults now and then; the rules that were broken are
counted over all seeds, so that one sees which ones the regression reaches.

``SEEDS=20 pytest random_test.py`` for a longer one.
"""

import collections
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb_tools.runner import get_runner

import virtio_testbench as vtb
from virtio_testbench.cocotb import Bench, CommandError

SECTORS = 2048
SEEDS = int(os.environ.get("SEEDS", "3"))
FAULTS = [None, "completion-late"]
reached = collections.Counter()


@cocotb.test()
@cocotb.parametrize(seed=range(SEEDS))
async def what_is_read_is_what_was_written_last(dut, seed):
    lots = random.Random(seed)
    cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
    fault = FAULTS[seed % len(FAULTS)]
    bench = Bench(dut, card={"device": "blk", "disk_sectors": SECTORS}, seed=seed, strict=False, patience="50 us")
    await bench.probe()
    if fault:
        await bench.fault(fault, packet=lots.randint(1, 8))
    disk = {}
    for _ in range(8):
        sector, count = lots.randrange(SECTORS - 4), lots.randint(1, 4)
        try:
            if lots.random() < 0.5:
                data = lots.randbytes(512 * count)
                # What fails may have been done or not.
                disk.update((sector + at, None) for at in range(count))
                await bench.blk.write(sector, data)
                disk.update((sector + at, data[512 * at :][:512]) for at in range(count))
            else:
                data = await bench.blk.read(sector, count)
                for at in range(count):
                    known = disk.get(sector + at)
                    assert known is None or known == data[512 * at :][:512], f"sector {sector + at}"
        except CommandError as error:
            cocotb.log.info("%s, as may be with %s", error, fault)
    reached.update({broken.rule for broken in bench.violations} or {"none"})
    assert fault or not bench.violations
    await bench.report()


@cocotb.test()
async def which_rules_were_reached(dut):
    for rule, seeds in sorted(reached.items()):
        cocotb.log.info("COVERAGE %s: %d of %d seeds", rule, seeds, SEEDS)
    assert reached["none"], "every seed broke a rule"


def test_a_random_regression():
    card = vtb.design("../../../rtl-model/reference.toml", only="host/direct/blk/x86-noiommu")
    runner = get_runner(os.environ.get("SIM", "icarus"))
    parameters = {**card["parameters"], "W": 64, "DISK_SECTORS": SECTORS}
    runner.build(sources=card["files"], hdl_toplevel="virtio_card", parameters=parameters, timescale=("1ns", "1ps"))
    runner.test(hdl_toplevel="virtio_card", test_module="random_test")
