"""Random and mutated inputs of every kind that the runtime reads, and what became of them.

    python tests/benchmarks/fuzz_inputs.py [--count 100000] [--seed 1] [--kind mavlink]

A defect is an exception other than the one error tree, a reading that takes more than two seconds
of processor time, or a value that can do harm (telemetry that is not finite, a shown password).
The same seed makes the same inputs; the first input of each defect is kept in --keep.
"""

from __future__ import annotations

import argparse
import logging
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from edge_runtime.contract.errors import DmnilError
from tests.hostile.kinds import READERS, opened
from tests.hostile.reader import InputReader

LONGEST_S = 2.0
"""Processor time of one reading."""
LONGEST_WALL_S = 30.0
"""Of one reading that waits without computing, on a busy machine."""


class TookTooLong(BaseException):
    """No exception of the runtime's, so that nothing but the trial catches it."""


@dataclass
class Trial:
    """What became of the inputs of one kind."""

    kind: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    wall_s: float = 0.0
    growth_mb: float = 0.0
    """Of the largest resident memory, after the first hundredth."""
    defects: Counter[str] = field(default_factory=Counter)
    """How often, by exception and place."""
    examples: dict[str, str] = field(default_factory=dict)
    """The first message of each."""


def try_inputs(
    kind: str, count: int, seed: int, folder: Path, keep: Path | None = None, limit_s: float = 1e9
) -> Trial:
    """Read so many inputs of a kind, or as many as fit into the time."""
    trial, rng = Trial(kind), Random(f"{seed} {kind}")
    for signal_number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(signal_number, _give_up)
    started_s, before_mb = time.monotonic(), 0.0
    with opened(kind, folder) as reader:
        while trial.inputs < count and time.monotonic() - started_s < limit_s:
            data = reader.make(rng)
            _read(reader, data, trial, keep)
            if trial.inputs == max(1, count // 100):
                before_mb = _peak_mb()
    trial.wall_s = time.monotonic() - started_s
    trial.growth_mb = _peak_mb() - before_mb
    return trial


def _read(reader: InputReader, data: bytes, trial: Trial, keep: Path | None) -> None:
    trial.inputs += 1
    began_s = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_WALL_S)
    try:
        if reader.read(data):
            trial.accepted += 1
        else:
            trial.refused += 1
    except DmnilError:
        trial.refused += 1
    except (Exception, TookTooLong) as error:  # noqa: BLE001 - whatever it is, it is the finding
        where = traceback.extract_tb(error.__traceback__)
        own = [line for line in where if "edge_runtime" in line.filename] or list(where)
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        name = f"{type(error).__name__} at {place}"
        if name not in trial.defects:
            trial.examples[name] = " ".join(str(error).split())[:160]
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{trial.kind}-{trial.inputs}").write_bytes(data)
        trial.defects[name] += 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    trial.slowest_s = max(trial.slowest_s, time.process_time() - began_s)


def _give_up(number: int, frame: FrameType | None) -> None:
    raise TookTooLong(signal.Signals(number).name)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Try every kind and print the table; 1 if there was a defect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=list(READERS), action="append")
    parser.add_argument("--seconds", type=float, default=1e9, help="at most, for each kind")
    parser.add_argument("--keep", type=Path, help="folder for inputs that showed a defect")
    options = parser.parse_args()
    logging.disable()
    columns = (
        "kind",
        "inputs",
        "accepted",
        "refused",
        "defects",
        "seconds",
        "slowest s",
        "MB more",
    )
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)  # noqa: T201
    found = 0
    for kind in options.kind or READERS:
        # Inputs are files in memory, where there is a file system of that kind.
        memory = Path("/dev/shm")
        place = memory if memory.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="dmnil-fuzz-", dir=place) as folder:
            trial = try_inputs(
                kind, options.count, options.seed, Path(folder), options.keep, options.seconds
            )
        defects = sum(trial.defects.values())
        found += defects
        counts = (trial.inputs, trial.accepted, trial.refused, defects)
        row = [kind, *(f"{n:,}" for n in counts), f"{trial.wall_s:.0f}"]
        row += [f"{trial.slowest_s:.3f}", f"{trial.growth_mb:.1f}"]
        print("| " + " | ".join(row) + " |", flush=True)  # noqa: T201
        for name, times in trial.defects.most_common(12):
            print(f"    {times} x {name}: {trial.examples[name]}", flush=True)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
