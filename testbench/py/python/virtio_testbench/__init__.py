"""A test bench for a physical virtio PCIe card.

A card (a model, to the clock cycle where it matters), the machine it is plugged into and the driver that uses
it are simulated in Rust; what comes back is the report that the command ``vtb`` writes, as a dictionary::

    import virtio_testbench as vtb

    report = vtb.run(only="host/direct/net", link__width=8)
    print(report)                       # the table that the command prints
    report["results"][0]["latency_ns"]["p99"]
    report.to_frame()                   # with pandas

While the bench runs, other Python threads do too, and Ctrl-C ends it.
"""

from __future__ import annotations

from ._native import Error, InputError, InternalError, __version__
from ._report import CompareReport, Report, RunReport, StudyReport
from ._verbs import compare, design, lspci, run, schema, soak, soak_scenario, study

__all__ = [
    "CompareReport",
    "Error",
    "InputError",
    "InternalError",
    "Report",
    "RunReport",
    "StudyReport",
    "__version__",
    "compare",
    "design",
    "lspci",
    "run",
    "schema",
    "soak",
    "soak_scenario",
    "study",
]
