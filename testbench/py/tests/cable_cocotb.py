"""Runs inside the simulator: the bench on the pins of the reference RTL as a network interface. Started by
``bench_in_a_simulator_test.py``."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.clock import Clock

from virtio_testbench.cocotb import Bench


@cocotb.test()
async def packets_come_back_as_they_were_sent(dut: Any) -> None:
    cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
    bench = Bench(dut, card={"device": "net"}, set={"host.ram": "16 MiB"})
    found = await bench.probe()
    assert found.net and found.net["link_up"] and found.blk is None
    packets = [bytes([number]) * (60 + 300 * number) for number in range(4)]
    received = [cocotb.start_soon(bench.net.receive()) for _ in packets]
    for packet in packets:
        await bench.net.send(packet)
    assert [await one for one in received] == packets
    report = await bench.report()
    assert report["violations"] == []
