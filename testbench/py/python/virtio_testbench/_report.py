"""Reports: dictionaries as the command's JSON has them, and a few ways to look at them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import _native

if TYPE_CHECKING:
    import pandas


class Report(dict[str, Any]):
    """A report: a dictionary, equal to what ``--json`` of the command writes.

    Times are in nanoseconds of simulated time, sizes in bytes, rates per second, unless a key says otherwise;
    :func:`virtio_testbench.schema` describes every key.
    """

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that such a file holds."""
        return cls(json.loads(text))

    def rows(self) -> Iterator[dict[str, Any]]:
        """One flat dictionary for each result: nested keys are joined by dots, as in ``latency_ns.p99``."""
        for row in self[self._rows]:
            yield dict(_flat(row))

    def to_frame(self) -> pandas.DataFrame:
        """The results as a data frame, one row each, with the columns of :meth:`rows`. Needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("a data frame needs pandas: pip install 'virtio-testbench[frames]'") from error
        frame = pandas.DataFrame(list(self.rows()))
        # What the command says of the whole report, out of the way of the columns.
        frame.attrs.update({key: self[key] for key in self._head if key in self})
        return frame

    @property
    def held(self) -> bool:
        """Every rule held and every threshold was reached: the command's exit status would be 0."""
        missed = [one for one in self.get("thresholds", []) if not one["held"]]
        summary = self.get("summary") or {}
        return not self["violations"] and not missed and summary.get("held", True)

    _rows = "results"
    _head: tuple[str, ...] = ("schema",)


class RunReport(Report):
    """What :func:`virtio_testbench.run` found: ``vtb-run/1``. Printed, it is the command's table."""

    _head = ("schema", "scenario", "platform", "card", "seed")

    def __str__(self) -> str:
        return _native.run_text(json.dumps(self))


class CompareReport(Report):
    """What :func:`virtio_testbench.compare` found: ``vtb-compare/1``. Printed, it is the command's text."""

    _rows = "runs"
    _head = ("schema", "scenario", "rtl", "seed")

    @property
    def held(self) -> bool:
        """Model and RTL do the same: the command's exit status would be 0."""
        return _native.compare_held(json.dumps(self))

    def __str__(self) -> str:
        return _native.compare_text(json.dumps(self))


class StudyReport(Report):
    """What :func:`virtio_testbench.study` found: ``vtb-study/1``. Printed, it is the command's table."""

    _rows = "rows"
    _head = ("schema", "study", "kind", "seed")

    def __str__(self) -> str:
        return _native.study_text(json.dumps(self))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner
