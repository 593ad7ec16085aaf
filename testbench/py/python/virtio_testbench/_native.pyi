from collections.abc import Callable, Sequence
from os import PathLike
from typing import final

__all__ = [
    "Repeater",
    "lspci",
    "run",
    "run_text",
    "schema",
    "soak",
    "soak_scenario",
    "study",
    "study_text",
    "Error",
    "InputError",
    "InternalError",
    "__version__",
]

__version__: str

class Error(Exception): ...
class InputError(Error): ...
class InternalError(Error): ...

@final
class Repeater:
    def __new__(cls, module: str, clock: str, pairs: Sequence[tuple[str, str]]) -> Repeater: ...
    @property
    def edges(self) -> int: ...
    @property
    def failure(self) -> str | None: ...
    @property
    def ports(self) -> list[tuple[str, str, int]]: ...
    @property
    def unknown(self) -> tuple[list[tuple[str, int]], int]: ...
    def stop(self) -> None: ...
    @staticmethod
    def live_callbacks() -> int: ...

def run(
    scenario: str | PathLike[str] | None = None,
    *,
    platform: Sequence[str] = ...,
    card: str = ...,
    seed: int | None = None,
    json: str | PathLike[str] | None = None,
    waves: str | PathLike[str] | None = None,
    trace: str | PathLike[str] | None = None,
    pcap: str | PathLike[str] | None = None,
    blk_log: str | PathLike[str] | None = None,
    only: str | None = None,
    set: Sequence[str] = ...,
    jobs: int | None = None,
    wall_clock: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> str: ...
def run_text(report: str) -> str: ...
def study(
    study: str | PathLike[str] | None = None,
    *,
    shard: str | None = None,
    merge: Sequence[str | PathLike[str]] = ...,
    json: str | PathLike[str] | None = None,
    html: str | PathLike[str] | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> str: ...
def study_text(report: str) -> str: ...
def soak(
    runs: int = 1000,
    *,
    seed: int = 1,
    jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> str: ...
def soak_scenario(seed: int) -> str: ...
def lspci(*, platform: str = ..., card: str = ..., device: str = "blk") -> str: ...
def schema(of: str) -> str: ...
