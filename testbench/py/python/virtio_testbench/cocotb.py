"""Root complex, IOMMU, host driver and checker on the pins of a design, in a test of cocotb's::

    import cocotb
    from cocotb.clock import Clock
    from virtio_testbench.cocotb import Bench

    @cocotb.test()
    async def a_sector_is_read_back(dut):
        cocotb.start_soon(Clock(dut.clk_i, 4, "ns").start())
        bench = Bench(dut, card={"device": "blk", "disk_sectors": 2048})
        await bench.probe()
        await bench.blk.write(5, bytes(range(256)) * 2)
        assert await bench.blk.read(5) == bytes(range(256)) * 2

The bench drives clocked pins from Rust, at each rising edge of the design's clock; Python runs when something
that it awaits is done. A rule that is broken fails the test, with the rule's id and the time. Times are those of
the simulator. Nothing of the bench outlives the test.

Needs cocotb 2.1. The clock must be driven through VPI, as cocotb's ``Clock`` does.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, Union, cast

import cocotb
from cocotb.triggers import Event, GPITrigger

from . import _native
from ._report import RunReport
from ._verbs import StrPath, keys_of
from .vpi import live_callbacks

__all__ = [
    "Bench",
    "Blk",
    "BrokenRule",
    "CommandError",
    "Config",
    "Host",
    "Mmio",
    "Net",
    "Probed",
    "Tlp",
    "Tlps",
    "Violation",
    "live_callbacks",
]

Ports = Mapping[str, Union[str, Sequence[str], Literal[False]]]


class CommandError(_native.Error):
    """The card, or the driver, could not do what was asked: the text says why."""


class Violation(NamedTuple):
    """A rule that was broken."""

    rule: str
    """Its id: of the virtio specification, of PCI Express, or one of the bench's own."""
    time_ps: int
    """When, in the simulator's time."""
    message: str
    """What was seen, and what should have been."""

    def __str__(self) -> str:
        return f"{self.rule} at {self.time_ps / 1000:.3f} ns: {self.message}"


class BrokenRule(AssertionError):
    """Rules were broken in a test that did not say that they might be."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = list(violations)
        super().__init__("\n".join(map(str, violations)))


class Probed(NamedTuple):
    """The card, as the driver has found it."""

    dma: str
    """The driver's DMA back end."""
    features: frozenset[int]
    """Bits of the features negotiated."""
    blk: dict[str, Any] | None
    """Of a disk: ``capacity_sectors``, ``seg_max``, ``size_max``."""
    net: dict[str, Any] | None
    """Of a network interface: ``mac``, ``mtu``, ``link_up``."""


class Tlp(NamedTuple):
    """A packet that crossed the link."""

    time_ps: int
    """When it left, in the simulator's time."""
    up: bool
    """It came from the card."""
    data: bytes
    """Its bytes, header first, in the order of the wire."""
    text: str
    """The same in words."""
    purpose: str | None
    """What a request of the card's was for."""


class Bench:
    """A machine with the design in its slot.

    The design is held in reset until something is asked for. The first command switches a machine on; its report,
    :meth:`report`, ends it, and the next command switches on another. The bench goes when the test does.

    :param dut: the design's top
    :param interface: how TLPs go in and out; there is ``"tlp-stream"``
    :param ports: from signals of the interface to ports of the design, as ``[ports]`` of a manifest has them:
        ``{"rx_*": "s_rx_*", "rx_np_ok": False}``; by default signals are called the same, or with ``_i`` and
        ``_o`` behind them
    :param clock: the clock's port; a usual name when left out
    :param reset: the reset's port; a usual name when left out, ``False`` for a design that has none
    :param reset_active: the level at which it is in reset; by its name when left out
    :param reset_cycles: rising edges for which it is active
    :param card: what the card is, as ``[card]`` of a manifest has it: ``device``, ``disk_sectors``,
        ``queue_size_max``, ``memory_bytes``, …
    :param manifest: a manifest that says all of the above, in their place
    :param platform: the machine or machines, in place of the scenario's
    :param scenario: a TOML file; a machine with a disk or a network interface, as the card says, when left out
    :param only: only runs whose name contains this
    :param seed: of everything drawn by lot
    :param set: keys of the scenario, as in ``{"card.queue_size": 64}``
    :param trace: a file for every TLP, one a line
    :param patience: how long a request may take before it has stalled, as in ``"200 us"``
    :param strict: a broken rule fails the test
    :raises InputError: a port is not there or not what it should be; scenario or options cannot be used
    """

    def __init__(
        self,
        dut: Any,
        interface: str = "tlp-stream",
        ports: Ports | None = None,
        *,
        clock: str | None = None,
        reset: str | Literal[False] | None = None,
        reset_active: Literal[0, 1] | None = None,
        reset_cycles: int = 4,
        card: Mapping[str, Any] | None = None,
        manifest: StrPath | None = None,
        platform: str | Iterable[str] = (),
        scenario: StrPath | None = None,
        only: str | None = None,
        seed: int | None = None,
        set: Mapping[str, Any] | None = None,
        trace: StrPath | None = None,
        patience: str = "1 ms",
        strict: bool = True,
    ) -> None:
        keys: dict[str, Any] = dict(set or {})
        if scenario is None:
            # One run is what commands are for.
            small = {"devices": [(card or {}).get("device", "blk")], "rings": ["host"], "layouts": ["direct"]}
            for key, value in {**small, "event_idx": [False]}.items():
                keys.setdefault(f"matrix.{key}", value)
            if not platform:
                platform = "x86-noiommu"
        options = {
            "module": dut._path,
            "interface": interface,
            "clock": clock or _usual(dut, _CLOCKS, "clock"),
            "reset": _reset(dut, reset, reset_active, reset_cycles),
            "ports": {"*": ["*", "*_i", "*_o"], **(ports or {})},
            "card": dict(card or {}),
            "manifest": None if manifest is None else str(manifest),
            "scenario": None if scenario is None else str(scenario),
            "platform": [platform] if isinstance(platform, str) else list(platform),
            "seed": seed,
            "only": only,
            "set": keys_of(keys),
            "trace": None if trace is None else str(trace),
            "patience": patience,
        }
        self._native = _native.Bench(json.dumps(options))
        self._strict = strict
        self._waiting: dict[int, Event] = {}
        self._answers: dict[int, tuple[str, Any]] = {}
        self._broken = Event()
        self._told = 0
        news = _News(self)
        self._native.on_news(news._react)
        self.blk = Blk(self)
        """The disk."""
        self.net = Net(self)
        """The network interface."""
        self.mmio = Mmio(self)
        """Registers and memory of the card, as the CPU reaches them."""
        self.config = Config(self)
        """The card's configuration space."""
        self.host = Host(self)
        """The machine's memory."""
        self.tlp = Tlps(self)
        """Packets on the link as they are."""
        cocotb.start_soon(self._watch(), name="virtio_testbench")

    async def probe(self) -> Probed:
        """The driver takes the card over.

        :raises CommandError: it will not have it
        """
        found = json.loads(await self._do(self._native.probe()))
        return Probed(found["dma"], frozenset(found["features"]), found["blk"], found["net"])

    async def run(self) -> RunReport:
        """Runs all of the scenario, each run from power-on to the driver's removal; what ``vtb run`` reports."""
        return RunReport(json.loads(await self._do(self._native.run())))

    async def report(self) -> RunReport:
        """The driver lets the card go, and the machine is switched off; what was seen, as ``vtb run`` reports it.

        Times in it are the machine's own, from power-on."""
        return RunReport(json.loads(await self._do(self._native.report())))

    async def fault(
        self,
        kind: str,
        *,
        direction: Literal["up", "down"] | None = None,
        packet: int | None = None,
        after: str | None = None,
        probability: float | None = None,
        times: int | None = None,
        delay: str | None = None,
    ) -> None:
        """Lets something go wrong on the link from now on, as ``[[fault]]`` of a scenario does.

        :param kind: its name, as in ``"completion-lost"``; a wrong one is answered with all of them
        :param direction: of the packets that it strikes
        :param packet: only this one of them; the first is 1
        :param after: only those that leave so long after now, as in ``"20 us"``
        :param probability: the chance of each of them
        :param times: how often it strikes at most
        :param delay: how late is what comes late
        """
        line = {"kind": kind, "direction": direction, "probability": probability, "times": times, "delay": delay}
        when = {"packet": packet, "after": after}
        line["when"] = {key: value for key, value in when.items() if value is not None}  # type: ignore[assignment]
        await self._do(self._native.fault(json.dumps(line)))

    @property
    def violations(self) -> list[Violation]:
        """The rules that were broken, in the order in which that was seen."""
        return [Violation(*found) for found in self._native.violations]

    @property
    def edges(self) -> int:
        """Rising edges of the clock since the bench is there."""
        return self._native.edges

    def close(self) -> None:
        """Ends the bench: no callback is left. What was written stays on the pins. The end of the test does it."""
        self._native.stop()

    async def __aenter__(self) -> Bench:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None:
            self._check()

    async def _do(self, number: int) -> Any:
        event = self._waiting[number] = Event()
        try:
            await event.wait()
        finally:
            self._waiting.pop(number, None)
        kind, value = self._answers.pop(number)
        if kind == "failed":
            raise CommandError(value)
        if kind == "input":
            raise _native.InputError(value)
        if kind == "internal":
            raise _native.InternalError(value)
        return value

    def _collect(self) -> None:
        """Something is done, or was found."""
        for number, kind, value in self._native.take():
            event = self._waiting.get(number)
            if event is not None:
                self._answers[number] = (kind, value)
                event.set()
        if self._native.violation_count > self._told or self._native.failure:
            self._broken.set()

    def _check(self) -> None:
        if self._native.failure:
            raise _native.InternalError(self._native.failure)
        fresh = self.violations[self._told :]
        self._told += len(fresh)
        if fresh and self._strict:
            raise BrokenRule(fresh)

    async def _watch(self) -> None:
        try:
            while True:
                await self._broken.wait()
                self._broken.clear()
                self._check()
        finally:
            # The test is over, one way or another.
            self.close()
            self._check()


class _News(GPITrigger):
    """The simulator's thread is lent to Python: the bench has something new."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = weakref.ref(bench)

    def _react(self) -> None:
        bench = self._bench()
        if bench is not None:
            bench._collect()
            super()._react()

    def _prime(self) -> None:
        pass

    def _unprime(self) -> None:
        pass


class _Part:
    def __init__(self, bench: Bench) -> None:
        self._of = weakref.ref(bench)

    @property
    def _bench(self) -> Bench:
        bench = self._of()
        if bench is None:
            raise _native.InputError("the bench is gone")
        return bench


class Blk(_Part):
    """The disk, through the driver. Several requests may be under way at once."""

    async def read(self, sector: int, count: int = 1) -> bytes:
        """Reads ``count`` sectors of 512 bytes.

        :raises CommandError: the card says that it failed, or does not answer
        """
        bench = self._bench
        return cast(bytes, await bench._do(bench._native.blk_read(sector, count)))

    async def write(self, sector: int, data: bytes) -> None:
        """Writes whole sectors.

        :raises CommandError: the card says that it failed, or does not answer
        """
        bench = self._bench
        await bench._do(bench._native.blk_write(sector, bytes(data)))

    async def flush(self) -> None:
        """What was written is there to stay."""
        bench = self._bench
        await bench._do(bench._native.blk_flush())


class Net(_Part):
    """The network interface, through the driver. Several packets may be under way at once."""

    async def send(self, packet: bytes) -> None:
        """Sends a packet, Ethernet header included; done when the card has taken it."""
        bench = self._bench
        await bench._do(bench._native.net_send(bytes(packet)))

    async def receive(self) -> bytes:
        """The next packet, Ethernet header included."""
        bench = self._bench
        return cast(bytes, await bench._do(bench._native.net_receive()))


class _Registers(_Part):
    async def _read(self, bar: int, offset: int, size: int) -> int:
        bench = self._bench
        return cast(int, await bench._do(bench._native.mmio_read(bar, offset, size)))

    async def _write(self, bar: int, offset: int, size: int, value: int) -> None:
        bench = self._bench
        await bench._do(bench._native.mmio_write(bar, offset, size, value))


class Mmio(_Registers):
    """Registers and memory behind the card's BARs. A read that nobody answers gives all ones."""

    async def read8(self, bar: int, offset: int) -> int:
        """Reads 1 byte."""
        return await self._read(bar, offset, 1)

    async def read16(self, bar: int, offset: int) -> int:
        """Reads 2 bytes."""
        return await self._read(bar, offset, 2)

    async def read32(self, bar: int, offset: int) -> int:
        """Reads 4 bytes."""
        return await self._read(bar, offset, 4)

    async def read64(self, bar: int, offset: int) -> int:
        """Reads 8 bytes."""
        return await self._read(bar, offset, 8)

    async def write8(self, bar: int, offset: int, value: int) -> None:
        """Writes 1 byte, posted."""
        await self._write(bar, offset, 1, value)

    async def write16(self, bar: int, offset: int, value: int) -> None:
        """Writes 2 bytes, posted."""
        await self._write(bar, offset, 2, value)

    async def write32(self, bar: int, offset: int, value: int) -> None:
        """Writes 4 bytes, posted."""
        await self._write(bar, offset, 4, value)

    async def write64(self, bar: int, offset: int, value: int) -> None:
        """Writes 8 bytes, posted."""
        await self._write(bar, offset, 8, value)


class Config(_Part):
    """The card's configuration space of 4 KiB."""

    async def read8(self, offset: int) -> int:
        """Reads 1 byte."""
        return await self._read(offset, 1)

    async def read16(self, offset: int) -> int:
        """Reads 2 bytes."""
        return await self._read(offset, 2)

    async def read32(self, offset: int) -> int:
        """Reads 4 bytes."""
        return await self._read(offset, 4)

    async def write8(self, offset: int, value: int) -> None:
        """Writes 1 byte."""
        await self._write(offset, 1, value)

    async def write16(self, offset: int, value: int) -> None:
        """Writes 2 bytes."""
        await self._write(offset, 2, value)

    async def write32(self, offset: int, value: int) -> None:
        """Writes 4 bytes."""
        await self._write(offset, 4, value)

    async def _read(self, offset: int, size: int) -> int:
        bench = self._bench
        return cast(int, await bench._do(bench._native.config_read(offset, size)))

    async def _write(self, offset: int, size: int, value: int) -> None:
        bench = self._bench
        await bench._do(bench._native.config_write(offset, size, value))


class Host(_Part):
    """The machine's RAM, from address 0, as its CPU sees it."""

    async def read(self, address: int, length: int) -> bytes:
        """Reads so many bytes."""
        bench = self._bench
        return cast(bytes, await bench._do(bench._native.memory_read(address, length)))

    async def write(self, address: int, data: bytes) -> None:
        """Writes these bytes."""
        bench = self._bench
        await bench._do(bench._native.memory_write(address, bytes(data)))


class Tlps(_Part):
    """Packets on the link, as they are: bytes in the order of the wire, header first."""

    async def send(self, data: bytes) -> bytes | None:
        """Sends a TLP to the card. One that wants an answer gets a tag of the CPU's; its completion comes back, or
        ``None`` when it was not successful or none came."""
        bench = self._bench
        return cast(Union[bytes, None], await bench._do(bench._native.tlp(bytes(data))))

    async def record(self) -> None:
        """Keeps every TLP of the link from now on."""
        bench = self._bench
        await bench._do(bench._native.record())

    async def recorded(self) -> list[Tlp]:
        """What was kept since this was asked last."""
        bench = self._bench
        return [Tlp(*seen) for seen in await bench._do(bench._native.recorded())]


_CLOCKS = ("clk_i", "clk", "aclk", "clock", "i_clk")
_RESETS = ("rst_ni", "rst_n", "aresetn", "resetn", "reset_n", "rst_i", "rst", "reset", "i_rst")


def _usual(dut: Any, names: Sequence[str], what: str) -> str:
    for name in names:
        if hasattr(dut, name):
            return name
    raise _native.InputError(f"{what}: {dut._path} has none of {', '.join(names)}: say which port it is")


def _reset(
    dut: Any, port: str | Literal[False] | None, active: Literal[0, 1] | None, cycles: int
) -> dict[str, Any] | None:
    if port is False:
        return None
    port = port or _usual(dut, _RESETS, "reset")
    if active is None:
        low = ("rst_n", "rstn", "reset_n", "resetn", "nrst", "nreset", "rst_b", "reset_b")
        active = 0 if any(part in port.lower() for part in low) else 1
    return {"port": port, "active": active, "cycles": cycles}
