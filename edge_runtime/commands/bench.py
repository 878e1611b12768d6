"""`edge_runtime bench`: how fast an engine is, and everything beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.bench import BenchConfig, bench_report, run_bench
from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines, write_json
from edge_runtime.contract.errors import ConfigError
from edge_runtime.engine_bench import EngineBenchConfig, engine_bench_report, run_engine_bench


def bench(parser: ArgumentParser) -> Action:
    """Measure an engine (--encoder), or what a frame costs beside its encoder on synthetic maps."""
    of_engine = parser.add_argument_group("An engine")
    of_engine.add_argument(
        "--encoder", type=Path | None, help="bundle, NAME.encoder, whose engine to measure"
    )
    engine_names = parser.add_class_arguments(
        EngineBenchConfig, None, skip={"encoder", "seed"}, as_group=False
    )
    map_names = parser.add_class_arguments(BenchConfig, None)
    parser.add_argument("--json", type=Path | None, help="write the figures to this file too")

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        engine_values = {name: values[name] for name in engine_names}
        config = EngineBenchConfig(
            encoder=values["encoder"] or Path(), seed=values["seed"], **engine_values
        )
        if values["encoder"] is not None:
            results = run_engine_bench(config)
            print_lines(engine_bench_report(results))
        elif config != EngineBenchConfig(encoder=Path(), seed=values["seed"]):
            raise ConfigError("measuring an engine needs --encoder NAME.encoder")
        else:
            results = run_bench(BenchConfig(**{name: values[name] for name in map_names}))
            print_lines(bench_report(results))
        if values["json"] is not None:
            write_json(values["json"], results)

    return act
