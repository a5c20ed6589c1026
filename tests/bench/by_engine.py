"""Measures engine by engine, each in processes of its own, and prints what they found."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.engines import ENGINES, why_not
from tests.bench.figures import Figures, ratio, table
from tests.bench.server import ask, new_installation
from tests.bench.throughput import MIB, PATTERNS

SIZES = 4
THROUGHPUT_ROUNDS = 5
"""At most: a round writes gigabytes."""
DAEMONS, DAEMON_ROUNDS = 100, 3
VERBS = {
    "create": "Create",
    "loaded": "Create, server writes",
    "revert": "Revert",
    "delete": "Delete",
    "evict": "Create at 5 of 5",
}

Part = tuple[str, str]


def of_drives(chosen: argparse.Namespace, folder: Path, warm_up: int) -> Iterator[Part]:
    sizes = str(1 if chosen.quick else SIZES)

    def measure(engine: str) -> Any:
        where = new_installation(folder / f"drives-{engine}", iscsi=True)
        arguments = str(where.folder / "bed"), str(chosen.rounds), str(warm_up), sizes
        return ask(where, "drives", engine, *arguments)

    found, missing = _each(chosen.engines, measure)
    yield "Verbs of the engines, served", f"{_report_drives(found)}\n\n{missing}".strip()


def of_throughput(chosen: argparse.Namespace, folder: Path, warm_up: int) -> Iterator[Part]:
    del warm_up

    def measure(engine: str) -> Any:
        where = new_installation(folder / f"throughput-{engine}", iscsi=True)
        arguments = f"127.0.0.1:{where.iscsi_port}", str(min(chosen.rounds, THROUGHPUT_ROUNDS))
        return ask(where, "throughput", engine, str(where.folder / "bed"), *arguments)

    found, missing = _each(["plain", *chosen.engines], measure)
    yield "Writing through iSCSI", f"{_report_throughput(found)}\n\n{missing}".strip()


def of_scale(chosen: argparse.Namespace, folder: Path, warm_up: int) -> Iterator[Part]:
    del warm_up
    drives, daemons = (20, 10) if chosen.quick else (chosen.drives, DAEMONS)

    def measure(engine: str) -> Any:
        where = new_installation(folder / f"scale-{engine}", iscsi=True)
        served = min(drives, chosen.served)
        arguments = str(drives), str(served), str(min(served, 50))
        return ask(where, "scale", engine, str(where.folder / "bed"), *arguments)

    found, missing = _each(chosen.engines, measure)
    yield "Many drives in one pool", f"{_report_scale(found)}\n\n{missing}".strip()
    if why_not("qcow2") is None:
        where = new_installation(folder / "daemons")
        rounds = str(1 if chosen.quick else DAEMON_ROUNDS)
        yield (
            "A storage daemon for each drive",
            _report_daemons(ask(where, "daemons", str(where.folder / "bed"), str(daemons), rounds), daemons),
        )


def _each(engines: Iterable[str], measure: Callable[[str], Any]) -> tuple[dict[str, Any], str]:
    """What was found of the engines that can be measured here, and why not of the others."""
    found, missing = {}, []
    for engine in engines:
        if engine in ENGINES and (why := why_not(engine)):
            missing.append(f"{engine}: {why}")
            continue
        print(f"{engine} …", file=sys.stderr, flush=True)
        found[engine] = measure(engine)
    return found, "\n".join(missing)


def _report_drives(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for engine, sizes in found.items():
        for size, times in sizes.items():
            cells = [_beside(times[verb]["ours"], times[verb]["bare"]) for verb in VERBS]
            steps = [_beside(times[verb]["step"], times[verb]["bare"]) for verb in ("create", "revert")]
            rows.append((f"{engine}, {size}", *cells, *steps))
    return table(("Drive", *VERBS.values(), "Asked → created", "Asked → reverted"), rows)


def _beside(ours: list[float], bare: list[float]) -> str:
    """ "12 / 15, ×1.3" """
    return f"{Figures(ours)}, ×{ratio(Figures(ours), Figures(bare))}"


def _report_throughput(found: Mapping[str, Mapping[str, Any]]) -> str:
    head = ("Writes", "Device", "after", "iSCSI", "after", "iSCSI ÷ device", "iSCSI: after ÷ before")
    rows = []
    for engine, patterns in found.items():
        for pattern in PATTERNS:
            times, unit = patterns[pattern.name], "MiB/s" if pattern.bytes_each == MIB else "writes/s"
            columns = [(way, when) for way in ("device", "iscsi") for when in ("before", "after")]
            medians = {key: pattern.writes * 1000 / Figures(times[key[0]][key[1]]).median for key in columns}
            share = medians["iscsi", "before"] / medians["device", "before"]
            change = medians["iscsi", "after"] / medians["iscsi", "before"]
            rates_shown = [f"{medians[key]:,.0f}" for key in columns]
            rows.append((f"{engine}, {pattern.name}, {unit}", *rates_shown, f"{share:.2f}", f"{change:.2f}"))
    return table(head, rows)


def _report_scale(found: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    rows = [(name, *(_figure(figures.get(name)) for figures in found.values())) for name in names]
    return table(("", *found), rows)


def _report_daemons(found: Mapping[str, Mapping[str, list[float]]], drives: int) -> str:
    names = next(iter(found.values()))
    rows = [(name, *(_figure(Figures(figures[name]).median) for figures in found.values())) for name in names]
    return table((f"{drives} drives", *found), rows)


def _figure(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return str(Figures(json.loads(value))) if value.startswith("[") else value
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
