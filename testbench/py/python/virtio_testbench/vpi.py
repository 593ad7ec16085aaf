"""Pins of a design in the simulator that has loaded this module, over VPI.

Only within a simulator, as in a test of cocotb's: elsewhere there are no pins, and :class:`Repeater` says so.
No Python runs while the simulator does: the callbacks are the module's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Literal, NamedTuple

from . import _native

__all__ = ["Port", "Repeater", "Unknown", "live_callbacks"]


class Port(NamedTuple):
    """A port of a design."""

    name: str
    direction: Literal["input", "output"]
    bits: int


class Unknown(NamedTuple):
    """An output that had an X or a Z at an edge."""

    port: str
    time_ps: int


class Repeater:
    """A row of flip-flops beside the design: what stands on an output goes to an input, one clock later.

    At each rising edge of the clock, outputs are read as they stood when it came, and the inputs beside them
    hold the same from just behind that edge until just behind the next one. X and Z are handed on as 0, and
    told in :attr:`unknown`.

    :param module: the full name of the design's top, as in ``"counter"``
    :param clock: its clock, an input that is driven through VPI
    :param pairs: from each output to an input of the same width
    :raises InputError: there is no simulator, module or port, a port goes the wrong way, or widths differ
    """

    def __init__(self, module: str, clock: str, pairs: Mapping[str, str]) -> None:
        self._native = _native.Repeater(module, clock, list(pairs.items()))

    @property
    def ports(self) -> list[Port]:
        """The module's ports."""
        return [Port(*port) for port in self._native.ports]  # type: ignore[arg-type]

    @property
    def edges(self) -> int:
        """Rising edges seen."""
        return self._native.edges

    @property
    def unknown(self) -> list[Unknown]:
        """The first hundred values that had an X or a Z, in the order of their time."""
        return [Unknown(*seen) for seen in self._native.unknown[0]]

    @property
    def unknowns(self) -> int:
        """How many values had an X or a Z."""
        return self._native.unknown[1]

    @property
    def failure(self) -> str | None:
        """What ended it early."""
        return self._native.failure

    def stop(self) -> None:
        """Removes the callbacks. What was written stays on the pins."""
        self._native.stop()

    def __enter__(self) -> Repeater:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def live_callbacks() -> int:
    """Callbacks on value changes that the simulator has of this module."""
    return _native.Repeater.live_callbacks()
