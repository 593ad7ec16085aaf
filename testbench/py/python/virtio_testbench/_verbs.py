"""The verbs of the command as functions."""

from __future__ import annotations

import json as _json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union, overload

from . import _native
from ._report import CompareReport, RunReport, StudyReport

if TYPE_CHECKING:
    import pandas

StrPath = Union[str, "os.PathLike[str]"]
Progress = Callable[[int, int], object]


@overload
def run(
    scenario: StrPath | None = ...,
    *,
    platform: str | Iterable[str] = ...,
    card: str = ...,
    seed: int | None = ...,
    only: str | None = ...,
    pcap: StrPath | None = ...,
    blk_log: StrPath | None = ...,
    json: StrPath | None = ...,
    waves: StrPath | None = ...,
    trace: StrPath | None = ...,
    jobs: int | None = ...,
    wall_clock: bool = ...,
    set: Mapping[str, Any] | None = ...,
    progress: Progress | None = ...,
    as_frame: Literal[False] = ...,
    **overrides: Any,
) -> RunReport: ...
@overload
def run(
    scenario: StrPath | None = ...,
    *,
    as_frame: Literal[True],
    platform: str | Iterable[str] = ...,
    card: str = ...,
    seed: int | None = ...,
    only: str | None = ...,
    pcap: StrPath | None = ...,
    blk_log: StrPath | None = ...,
    json: StrPath | None = ...,
    waves: StrPath | None = ...,
    trace: StrPath | None = ...,
    jobs: int | None = ...,
    wall_clock: bool = ...,
    set: Mapping[str, Any] | None = ...,
    progress: Progress | None = ...,
    **overrides: Any,
) -> pandas.DataFrame: ...
def run(
    scenario: StrPath | None = None,
    *,
    platform: str | Iterable[str] = (),
    card: str = "model",
    seed: int | None = None,
    only: str | None = None,
    pcap: StrPath | None = None,
    blk_log: StrPath | None = None,
    json: StrPath | None = None,
    waves: StrPath | None = None,
    trace: StrPath | None = None,
    jobs: int | None = None,
    wall_clock: bool = False,
    set: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    as_frame: bool = False,
    **overrides: Any,
) -> RunReport | pandas.DataFrame:
    """Runs a scenario; what ``vtb run`` does.

    :param scenario: a TOML file; the default scenario, recorded real traffic through every placement of the
        rings, when left out
    :param platform: the machine or machines to plug the card into; ``"all"`` without a scenario is the table of
        every platform and what becomes of a card there
    :param card: the card under test
    :param seed: of everything drawn by lot
    :param only: only runs whose name contains this, as in ``"hybrid/direct/net"``
    :param pcap: packets of a capture instead of the scenario's
    :param blk_log: block commands of a fio iolog instead of the scenario's
    :param json: a file for the report
    :param waves: a file for the waves of the first run, ``.fst`` or ``.vcd``
    :param trace: a file for every TLP of every run, one a line
    :param jobs: runs at a time; as many as there are cores when left out
    :param wall_clock: report the seconds it took as ``wall_s``, else 0 so that equal runs give equal reports
    :param set: keys of the scenario, as in ``{"card.queue_size": 64}`` or ``{"card": {"queue_size": 64}}``
    :param progress: is called with the number of runs done and of all runs, some times a second
    :param as_frame: a pandas data frame in place of the report
    :param overrides: keys of the scenario as well, with two underscores for the dot: ``card__queue_size=64``
    :raises InputError: scenario, option or traffic cannot be used; nothing was run then, no file written
    :raises InternalError: the bench failed
    """
    keys = {**(set or {}), **{key.replace("__", "."): value for key, value in overrides.items()}}
    text = _native.run(
        scenario,
        platform=[platform] if isinstance(platform, str) else list(platform),
        card=card,
        seed=seed,
        json=json,
        waves=waves,
        trace=trace,
        pcap=pcap,
        blk_log=blk_log,
        only=only,
        set=keys_of(keys),
        jobs=jobs,
        wall_clock=wall_clock,
        progress=progress,
    )
    report = RunReport(_json.loads(text))
    return report.to_frame() if as_frame else report


@overload
def study(
    study: StrPath | None = ...,
    *,
    shard: tuple[int, int] | None = ...,
    merge: Sequence[StrPath] = ...,
    json: StrPath | None = ...,
    html: StrPath | None = ...,
    jobs: int | None = ...,
    progress: Progress | None = ...,
    as_frame: Literal[False] = ...,
) -> StudyReport: ...
@overload
def study(
    study: StrPath | None = ...,
    *,
    as_frame: Literal[True],
    shard: tuple[int, int] | None = ...,
    merge: Sequence[StrPath] = ...,
    json: StrPath | None = ...,
    html: StrPath | None = ...,
    jobs: int | None = ...,
    progress: Progress | None = ...,
) -> pandas.DataFrame: ...
def study(
    study: StrPath | None = None,
    *,
    shard: tuple[int, int] | None = None,
    merge: Sequence[StrPath] = (),
    json: StrPath | None = None,
    html: StrPath | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    as_frame: bool = False,
) -> StudyReport | pandas.DataFrame:
    """Runs a study, a sweep over parameters or a published benchmark replayed; what ``vtb study`` does.

    :param study: a TOML file
    :param shard: ``(i, n)``: only every nth of its points, from the ith on, counted from 1
    :param merge: JSON reports of all shards, to be put together instead of running anything
    :param json: a file for the report
    :param html: a file for the report as one page with plots
    :param jobs: points at a time; as many as there are cores when left out
    :param progress: is called with the number of points done and of all points, some times a second
    :param as_frame: a pandas data frame in place of the report
    :raises InputError: study, scenario, option or traffic cannot be used
    :raises InternalError: the bench failed
    """
    if (study is None) != bool(merge):
        raise TypeError("either a study or reports to merge")
    text = _native.study(
        study,
        shard=None if shard is None else f"{shard[0]}/{shard[1]}",
        merge=list(merge),
        json=json,
        html=html,
        jobs=jobs,
        progress=progress,
    )
    report = StudyReport(_json.loads(text))
    return report.to_frame() if as_frame else report


def compare(
    scenario: StrPath | None = None,
    *,
    rtl: StrPath,
    platform: str | Iterable[str] = (),
    seed: int | None = None,
    only: str | None = None,
    json: StrPath | None = None,
    jobs: int | None = None,
    set: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **overrides: Any,
) -> CompareReport:
    """Runs a scenario on the model and on RTL under Verilator: the first difference, and how far apart they are in
    time; what ``vtb compare`` does.

    :param scenario: a TOML file; the default scenario when left out
    :param rtl: the RTL's manifest
    :param platform: the machine or machines to plug the cards into
    :param seed: of everything drawn by lot
    :param only: only runs whose name contains this
    :param json: a file for the report
    :param jobs: runs at a time; as many as there are cores when left out
    :param set: keys of the scenario, as for :func:`run`
    :param progress: is called with the number of runs done and of all runs, some times a second
    :param overrides: keys of the scenario as well, with two underscores for the dot
    :raises InputError: manifest, RTL, scenario, option or traffic cannot be used
    :raises InternalError: the bench failed
    """
    keys = {**(set or {}), **{key.replace("__", "."): value for key, value in overrides.items()}}
    text = _native.compare(
        scenario,
        rtl=rtl,
        platform=[platform] if isinstance(platform, str) else list(platform),
        seed=seed,
        json=json,
        only=only,
        set=keys_of(keys),
        jobs=jobs,
        progress=progress,
    )
    return CompareReport(_json.loads(text))


def design(
    manifest: StrPath,
    scenario: StrPath | None = None,
    *,
    platform: str | Iterable[str] = (),
    only: str | None = None,
    set: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """What a manifest says of a design, for whoever builds it with a simulator of his own: ``name``, ``top``,
    ``files`` in the order of compilation, ``include``, ``defines``, ``parameters``, ``clock`` and ``period_ps``.

    :param manifest: the manifest
    :param scenario: a TOML file that sets those parameters that the manifest leaves to it; the default scenario
        when left out
    :param platform: the machine or machines, in place of the scenario's
    :param only: only runs whose name contains this; those chosen must agree in the parameters
    :param set: keys of the scenario, as for :func:`run`
    :param overrides: keys of the scenario as well, with two underscores for the dot
    :raises InputError: manifest, scenario or option cannot be used, or the runs do not agree
    """
    keys = {**(set or {}), **{key.replace("__", "."): value for key, value in overrides.items()}}
    told = _json.loads(
        _native.design(
            manifest,
            scenario=scenario,
            platform=[platform] if isinstance(platform, str) else list(platform),
            only=only,
            set=keys_of(keys),
        )
    )
    assert isinstance(told, dict)
    return told


def soak(
    runs: int = 1000,
    *,
    seed: int = 1,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs drawn by lot, with faults: no panic, no hang, nothing lost without anybody being told.

    ``verdicts`` says how many runs came to which verdict, ``wrong`` lists what may not be: ``seed`` and ``why``.

    :param runs: how many
    :param seed: of the first; each of the others has the next one
    :param jobs: runs at a time; as many as there are cores when left out
    :param progress: is called with the number of runs done and of all runs, some times a second
    """
    tally = _json.loads(_native.soak(runs, seed=seed, jobs=jobs, progress=progress))
    assert isinstance(tally, dict)
    return tally


def soak_scenario(seed: int) -> str:
    """The scenario that :func:`soak` runs for a seed, in TOML."""
    return _native.soak_scenario(seed)


def lspci(
    *,
    platform: str = "x86-noiommu",
    card: str = "model",
    device: Literal["blk", "net"] = "blk",
) -> str:
    """The card's and the root port's configuration space, in the form that ``lspci -F`` reads.

    :param platform: the machine to plug the card into
    :param card: the card under test
    :param device: which virtio device the card is
    :raises InputError: there is no such platform, card or device, or no PCI slot
    """
    return _native.lspci(platform=platform, card=card, device=device)


def schema(of: Literal["run", "compare", "study", "bench"] = "run") -> dict[str, Any]:
    """The JSON schema of a report, with every key described.

    :param of: whose report
    """
    schema = _json.loads(_native.schema(of))
    assert isinstance(schema, dict)
    return schema


def keys_of(keys: Mapping[str, Any]) -> list[str]:
    """Keys of a scenario as the command's ``--set`` has them."""
    return [f"{key}={_toml(value)}" for key, value in _leaves(keys)]


def _leaves(keys: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in keys.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (f"{_json.dumps(str(key))} = {_toml(inner)}" for key, inner in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, (str, os.PathLike)):
        return _text(os.fspath(value))
    item = getattr(value, "item", None)
    if callable(item):  # A number of numpy's.
        return _toml(item())
    raise TypeError(f"a scenario has no place for {value!r}")


def _text(text: str) -> str:
    """A basic string of TOML: as JSON's, which escapes pairs of surrogates where TOML has the character."""
    return _json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
