"""The package is typed, and its types are true."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE

import virtio_testbench as vtb
import virtio_testbench.cocotb
import virtio_testbench.vpi

PACKAGE = Path(vtb.__file__).parent


def _python(*arguments: str, cwd: Path | None = None) -> None:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def stubs_agree_with_what_is_loaded() -> None:
    _python("-m", "mypy.stubtest", "virtio_testbench", "--concise")


def the_package_passes_mypy_strictly(tmp_path: Path) -> None:
    _python("-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(PACKAGE))


def every_module_is_python_3_9() -> None:
    for path in PACKAGE.glob("*.py*"):
        if path.suffix in (".py", ".pyi"):
            ast.parse(path.read_text(), str(path), feature_version=(3, 9))


def a_wrong_type_is_seen_by_whoever_uses_the_package(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text("import virtio_testbench as vtb\nvtb.run(seed='one')\nvtb.run().helt\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(user)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert 'user.py:2: error: No overload' in done.stdout
    assert '"RunReport" has no attribute "helt"' in done.stdout


@pytest.mark.parametrize("module", [vtb, virtio_testbench.cocotb, virtio_testbench.vpi])
def everything_public_is_documented(module: object) -> None:
    names = getattr(module, "__all__")
    for name in (name for name in names if not name.startswith("__")):
        thing = getattr(module, name)
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing):
            for inner, member in vars(thing).items():
                if not inner.startswith("_") and (callable(member) or isinstance(member, property)):
                    assert inspect.getdoc(member), f"{name}.{inner}"


def every_parameter_of_a_verb_is_described() -> None:
    for verb in (vtb.run, vtb.study, vtb.compare, vtb.design, vtb.soak, vtb.lspci, vtb.schema):
        text = inspect.getdoc(verb) or ""
        for parameter in inspect.signature(verb).parameters:
            assert f":param {parameter}:" in text, f"{verb.__name__}: {parameter}"


def the_page_shows_programs_that_run(tmp_path: Path) -> None:
    page = (HERE.parent / "README.md").read_text()
    programs = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert programs
    for number, program in enumerate(programs):
        path = tmp_path / f"{number}.py"
        path.write_text(program)
        if "import cocotb" in program:
            compile(program, str(path), "exec")
        else:
            _python(str(path), cwd=tmp_path)
