"""Runs inside the simulator: the bench on the pins of the reference RTL as a disk. Started by
``bench_in_a_simulator_test.py``."""

from __future__ import annotations

import gc
import os
import resource
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.handle import Force, Release
from cocotb.triggers import ClockCycles, Timer
from cocotb.types import Logic

import virtio_testbench as vtb
from virtio_testbench.cocotb import Bench, BrokenRule, CommandError, live_callbacks

TWO_STATES = "Verilator" in cocotb.SIM_NAME
SECTORS = int(os.environ["VTB_SECTORS"])
CARD = {"device": "blk", "disk_sectors": SECTORS}
SMALL = {"host.ram": "16 MiB"}


def bench_on(dut: Any, **options: Any) -> Bench:
    cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
    return Bench(dut, card=CARD, **{"set": SMALL, **options})


def content(sector: int, count: int = 1) -> bytes:
    return bytes((sector * 31 + at * 7) % 251 for at in range(512 * count))


@cocotb.test()
async def what_is_written_is_read_back_and_the_report_has_it(dut: Any) -> None:
    bench = bench_on(dut)
    found = await bench.probe()
    assert found.blk and found.blk["capacity_sectors"] == SECTORS and found.net is None
    assert 32 in found.features, "VIRTIO_F_VERSION_1"
    await bench.blk.write(5, content(5, 2))
    await bench.blk.flush()
    assert await bench.blk.read(5, 2) == content(5, 2)
    report = await bench.report()
    assert report["violations"] == [] and bench.violations == []
    (run,) = report["results"]
    assert run["name"] == "split/host/direct/blk/x86-noiommu"
    assert run["requests"] == 3
    await bench.probe()  # Another machine.
    assert await bench.blk.read(5, 2) == content(5, 2), "the disk is the design's"


@cocotb.test()
async def requests_are_under_way_at_once(dut: Any) -> None:
    bench = bench_on(dut)
    await bench.probe()
    for sector in range(4):
        await bench.blk.write(sector, content(sector))
    began = bench.edges
    assert await bench.blk.read(0) == content(0)
    alone = bench.edges - began
    reads = [cocotb.start_soon(bench.blk.read(sector)) for sector in range(4)]
    began = bench.edges
    for sector, read in enumerate(reads):
        assert await read == content(sector)
    assert bench.edges - began < 3 * alone


@cocotb.test()
async def registers_memory_and_packets_are_at_hand_without_a_driver(dut: Any) -> None:
    bench = bench_on(dut)
    assert await bench.config.read16(0) == 0x1AF4
    assert await bench.config.read32(0) == 0x1042_1AF4
    assert await bench.mmio.read16(0, 0x12) == 1, "num_queues"
    await bench.mmio.write32(0, 0x00, 1)
    assert await bench.mmio.read32(0, 0x00) == 1, "device_feature_select"
    await bench.host.write(0x20_0000, b"abc")
    assert await bench.host.read(0x20_0000, 4) == b"abc\0"
    await bench.tlp.record()
    request = bytes([4, 0, 0, 1, 0, 0, 0, 0x0F, 1, 0, 0, 0])  # CfgRd0 of 01:00.0, register 0
    completion = await bench.tlp.send(request)
    assert completion is not None and completion[12:16] == bytes([0xF4, 0x1A, 0x42, 0x10])
    down, up = await bench.tlp.recorded()
    assert (down.up, up.up) == (False, True) and down.text.startswith("CfgRd0")
    now = cocotb.utils.get_sim_time("ps")
    assert now - 2_000_000 < down.time_ps < up.time_ps <= now


@cocotb.test()
async def what_cannot_be_done_is_an_exception_with_its_reason(dut: Any) -> None:
    bench = bench_on(dut)

    async def refused(command: Any, kind: type[Exception] = CommandError) -> str:
        try:
            await command
        except kind as error:
            return str(error)
        raise AssertionError("no error")

    assert await refused(bench.blk.read(0)) == "the card was not probed"
    assert "BAR0 of 0x4000 bytes" in await refused(bench.mmio.read32(0, 0x4000))
    await bench.probe()
    assert f"past the capacity of {SECTORS} sectors" in await refused(bench.blk.read(SECTORS))
    assert "for net" in await refused(bench.net.receive())
    assert "needs a machine of its own" in await refused(bench.run(), vtb.InputError)
    assert "there is no fault `gremlin`; there are: " in await refused(bench.fault("gremlin"), vtb.InputError)
    assert bench.violations == []


@cocotb.test()
async def ports_that_do_not_fit_are_told_by_name(dut: Any) -> None:
    def refused(**options: Any) -> str:
        try:
            Bench(dut, card=CARD, **options)
        except vtb.InputError as error:
            return str(error)
        raise AssertionError("no error")

    assert "rx_valid: the design has no port valid" in refused(ports={"rx_valid": "valid"})
    assert "has no port `clock`" in refused(clock="clock")
    assert "rx_valid: port tx_ready_o should be" in refused(ports={"rx_valid": "tx_valid_o"}).replace("tx_valid", "tx_ready")
    assert "unknown variant `axi`" in refused(interface="axi")
    assert "x86-vdt" in refused(platform="x86-vdt")
    assert live_callbacks() == 0
    await Timer(1, "ns")


@cocotb.test()
@cocotb.xfail(raises=BrokenRule)
async def a_broken_rule_fails_the_test(dut: Any) -> None:
    bench = bench_on(dut, patience="30 us")
    await bench.probe()
    await bench.fault("completion-lost")

    async def reader() -> None:
        try:
            await bench.blk.read(0)
        except CommandError:
            pass

    cocotb.start_soon(reader())
    await ClockCycles(dut.clk_i, 20_000)
    raise AssertionError("the test went on")


@cocotb.test()
async def who_expects_a_broken_rule_is_told_of_it_with_its_time(dut: Any) -> None:
    assert live_callbacks() == 0, "the test before left one"
    bench = bench_on(dut, patience="30 us", strict=False)
    await bench.probe()
    await bench.fault("completion-lost")
    before = cocotb.utils.get_sim_time("ps")
    try:
        await bench.blk.read(0)
    except CommandError as error:
        assert str(error) == "nothing has come for 30 us"
    after = cocotb.utils.get_sim_time("ps")
    (broken,) = [found for found in bench.violations if found.rule == "BENCH-STALLED"]
    assert before + 30_000_000 <= broken.time_ps <= after


@cocotb.test(skip=TWO_STATES)
async def an_unknown_pin_is_told_with_its_port_and_time(dut: Any) -> None:
    bench = bench_on(dut, strict=False)
    await bench.config.read32(0)
    assert bench.violations == []
    before = cocotb.utils.get_sim_time("ps")
    dut.tx_valid_o.value = Force(Logic("X"))
    await ClockCycles(dut.clk_i, 3)
    dut.tx_valid_o.value = Release()
    await ClockCycles(dut.clk_i, 3)
    after = cocotb.utils.get_sim_time("ps")
    assert bench.violations
    for broken in bench.violations:
        assert broken.rule == "PIN-UNKNOWN"
        assert broken.message == "tx_valid_o is X or Z"
        assert before <= broken.time_ps <= after


@cocotb.test()
@cocotb.xfail(raises=ZeroDivisionError)
async def a_test_that_raises_takes_its_bench_along(dut: Any) -> None:
    bench = bench_on(dut)
    await bench.config.read32(0)
    assert live_callbacks() == 1
    cocotb.start_soon(bench.probe())
    await ClockCycles(dut.clk_i, 50)
    raise ZeroDivisionError


@cocotb.test()
async def a_test_that_ends_within_a_command_takes_its_bench_along(dut: Any) -> None:
    assert live_callbacks() == 0, "the test before left one"
    bench = bench_on(dut)
    cocotb.start_soon(bench.probe())
    await ClockCycles(dut.clk_i, 500)


@cocotb.test()
async def a_hundred_starts_leave_nothing_behind(dut: Any) -> None:
    assert live_callbacks() == 0, "the test before left one"
    cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
    before = 0
    for start in range(100):
        bench = Bench(dut, card=CARD, set=SMALL)
        assert live_callbacks() == 1
        if start % 3 == 0:
            task = cocotb.start_soon(bench.probe())
            await ClockCycles(dut.clk_i, 20 + start)
            task.cancel()
        elif start % 3 == 1:
            await bench.config.read32(0)
        bench.close()
        assert live_callbacks() == 0
        edges = bench.edges
        await ClockCycles(dut.clk_i, 2)
        assert bench.edges == edges
        del bench
        gc.collect()
        if start == 20:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # 80 machines have 1.3 GB of RAM, and a stack each.
    assert grown < 16 * 1024, f"{grown} KiB"
