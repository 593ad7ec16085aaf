"""Directed tests of errors: what a card does when a completion is lost, poisoned, or answers nobody.

Started by pytest as first_test.py is; ``make MODULE=error_test`` does the same.
"""

import os

import cocotb
from cocotb.clock import Clock
from cocotb_tools.runner import get_runner

import virtio_testbench as vtb
from virtio_testbench.cocotb import Bench, CommandError


async def driven(dut, **options):
    cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
    bench = Bench(dut, card={"device": "blk", "disk_sectors": 2048}, **options)
    await bench.probe()
    return bench


@cocotb.test()
async def a_request_that_the_card_never_answers_is_told(dut):
    """The card's own read is never answered, and its patience is longer than the bench's."""
    bench = await driven(dut, patience="30 us", strict=False)
    await bench.fault("completion-lost")
    try:
        await bench.blk.read(0)
    except CommandError as error:
        assert "nothing has come" in str(error)
    else:
        raise AssertionError("it came")
    assert "BENCH-STALLED" in [broken.rule for broken in bench.violations]


@cocotb.test()
async def an_aborted_read_fails_its_request_and_no_other(dut):
    """Completer Abort for the read of a request's data: the request fails, the next one does not."""
    bench = await driven(dut, strict=False, patience="100 us")
    await bench.blk.write(3, b"a" * 512)
    await bench.tlp.record()
    await bench.blk.write(4, b"b" * 512)
    reads = [tlp for tlp in await bench.tlp.recorded() if tlp.text.startswith("MRd") and tlp.up]
    payload = next(at for at, tlp in enumerate(reads, 1) if tlp.purpose == "payload")
    await bench.fault("completion-status", packet=payload)
    try:
        await bench.blk.write(3, b"c" * 512)
    except CommandError as error:
        assert "status 1" in str(error)
    else:
        raise AssertionError("the card did not notice")
    assert await bench.blk.read(4) == b"b" * 512


@cocotb.test()
async def a_completion_that_nobody_asked_for_changes_nothing(dut):
    bench = await driven(dut)
    # CplD of 4 bytes from the root complex to 01:00.0, with a tag that is not in use.
    stray = bytes([0x4A, 0, 0, 1, 0, 0, 0, 4, 1, 0, 0xFE, 0, 0xDE, 0xAD, 0xBE, 0xEF])
    await bench.tlp.send(stray)
    await bench.blk.write(7, b"x" * 512)
    assert await bench.blk.read(7) == b"x" * 512


def test_the_cards_errors():
    card = vtb.design("../../../rtl-model/reference.toml", only="host/direct/blk/x86-noiommu")
    runner = get_runner(os.environ.get("SIM", "icarus"))
    parameters = {**card["parameters"], "W": 64, "DISK_SECTORS": 2048}
    runner.build(sources=card["files"], hdl_toplevel="virtio_card", parameters=parameters, timescale=("1ns", "1ps"))
    runner.test(hdl_toplevel="virtio_card", test_module="error_test")
