"""Runs inside the simulator: the flip-flops of the module beside the design ``answer``. Started by
``pins_in_a_simulator_test.py``."""

from __future__ import annotations

import gc
import json
import os
import time
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, Timer

import virtio_testbench as vtb
from virtio_testbench.vpi import Repeater, live_callbacks

PAIRS = {"q1_o": "d1_i", "q8_o": "d8_i", "q33_o": "d33_i", "q512_o": "d512_i"}
WIDE = sum(0x0001_0001 << (32 * word) for word in range(16))
TWO_STATES = "Verilator" in cocotb.SIM_NAME


def after(steps: int) -> dict[str, int]:
    """What the outputs show after so many edges out of reset: design and repeater take turns, so that each value
    stands for two edges."""
    one, byte, odd, wide = 0, 0, 0, 0
    for _ in range((steps + 1) // 2):
        one ^= 1
        byte = (byte + 1) % 2**8
        odd = (odd + 0xFFFF_FFFF) % 2**33
        rotated = (wide << 1) % 2**512 | (wide >> 511 ^ 1)
        wide = (rotated + WIDE) % 2**512
    return {"q1_o": one, "q8_o": byte, "q33_o": odd, "q512_o": wide}


async def reset(dut: Any) -> None:
    dut.rst_ni.value = 0
    dut.hide_i.value = 0
    for port in PAIRS.values():
        getattr(dut, port).value = 0
    cocotb.start_soon(Clock(dut.clk_i, 10, "ns").start())
    await ClockCycles(dut.clk_i, 3)
    await FallingEdge(dut.clk_i)


@cocotb.test()
async def every_width_goes_round_bit_by_bit(dut: Any) -> None:
    await reset(dut)
    repeater = Repeater(dut._path, "clk_i", PAIRS)
    await ClockCycles(dut.clk_i, 2)
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    for steps in range(1, 1100):
        await FallingEdge(dut.clk_i)
        expected = after(steps) if steps < 40 or steps > 1090 else None
        if expected:
            shown = {port: int(getattr(dut, port).value) for port in PAIRS}
            assert shown == expected, (steps, {p: hex(v) for p, v in shown.items()})
    assert repeater.failure is None
    assert repeater.unknowns == 0
    assert repeater.edges == 1101, repeater.edges
    repeater.stop()


@cocotb.test()
async def what_is_written_stands_from_just_behind_one_edge_to_just_behind_the_next(dut: Any) -> None:
    await reset(dut)
    with Repeater(dut._path, "clk_i", PAIRS):
        dut.rst_ni.value = 1
        before = None
        for _ in range(50):
            await RisingEdge(dut.clk_i)
            await Timer(1, "ns")
            here = int(dut.d8_i.value)
            await Timer(3, "ns")
            assert int(dut.d8_i.value) == here
            await FallingEdge(dut.clk_i)
            assert int(dut.d8_i.value) == here
            # The repeater read what stood before the edge: the output of the cycle before.
            assert before is None or here == before
            before = int(dut.q8_o.value)


@cocotb.test(skip=TWO_STATES)
async def an_unknown_bit_is_told_with_port_and_time_and_the_rest_goes_through(dut: Any) -> None:
    await reset(dut)
    with Repeater(dut._path, "clk_i", PAIRS) as repeater:
        dut.rst_ni.value = 1
        await ClockCycles(dut.clk_i, 5)
        assert repeater.unknowns == 0, repeater.unknown
        await FallingEdge(dut.clk_i)
        dut.hide_i.value = 1
        await RisingEdge(dut.clk_i)
        await RisingEdge(dut.clk_i)
        seen = cocotb.utils.get_sim_time("ps")
        await FallingEdge(dut.clk_i)
        assert repeater.unknown == [("q8_o", seen)]
        assert int(dut.d8_i.value) == 1


@cocotb.test()
async def a_hundred_starts_leave_no_callback_behind(dut: Any) -> None:
    await reset(dut)
    dut.rst_ni.value = 1
    for start in range(100):
        repeater = Repeater(dut._path, "clk_i", PAIRS)
        assert live_callbacks() == 1
        # An end within any phase of the clock, by request or by being forgotten.
        await Timer(1 + 7 * start, "ns")
        if start % 2:
            repeater.stop()
            edges = repeater.edges
            await ClockCycles(dut.clk_i, 2)
            assert repeater.edges == edges
        del repeater
        gc.collect()
        assert live_callbacks() == 0


@cocotb.test()
async def what_is_not_there_is_told_by_name(dut: Any) -> None:
    def refused(*arguments: Any) -> str:
        try:
            Repeater(*arguments)
        except vtb.InputError as error:
            return str(error)
        raise AssertionError("no error")

    top = dut._path
    assert refused("nowhere", "clk_i", {}) == "the simulator knows no `nowhere`"
    assert f"{top} has no port `clock`; it has: clk_i, " in refused(top, "clock", {})
    assert refused(top, "q1_o", {}) == f"`q1_o` is no input of {top}"
    assert refused(top, "clk_i", {"d1_i": "d8_i"}) == f"`d1_i` is no output of {top}"
    assert refused(top, "clk_i", {"q1_o": "d8_i"}) == "`q1_o` has 1 bits and `d8_i` has 8"
    assert live_callbacks() == 0
    await Timer(1, "ns")


@cocotb.test()
async def edges_a_second(dut: Any) -> None:
    """Not a law: figures, with nothing attached and with every port read and written at each edge."""
    await reset(dut)
    dut.rst_ni.value = 1
    cycles = int(os.environ.get("VTB_CYCLES", "2000"))
    figures = {}
    for name, pairs in [("clock alone", None), ("1 bit", {"q1_o": "d1_i"}), ("all ports", PAIRS)]:
        repeater = Repeater(dut._path, "clk_i", pairs) if pairs else None
        started = time.process_time()
        await Timer(10 * cycles, "ns")
        figures[name] = round(cycles / (time.process_time() - started))
        if repeater:
            assert repeater.edges == cycles and repeater.failure is None
            repeater.stop()
    cocotb.log.info("FIGURES %s", json.dumps(figures))
