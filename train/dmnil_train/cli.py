"""`dmnil-train`: train an encoder on images without pairs; `dmnil-train evaluate` scores one."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_train.memory_allocation import keep_freed_memory
from dmnil_train.presets import PRESETS, preset
from edge_runtime.command_line import EXIT_INTERRUPTED, Action, run_command
from edge_runtime.contract.errors import ConfigError

NAME = "dmnil-train"
DEFAULT_PRESET = "satellite-only"
FIRST_STEPS = """\
dmnil-train needs satellite images, drone images where there are any, and a folder for the run: \
--data.layout, --data.satellite or --data.root, --output.
A generated world to try it on: dmnil-map sample -o town.world
dmnil-train -o town.run --data.layout region --data.satellite town.world/satellite.tif; \
--help lists all options.
"""
_EVALUATE = "evaluate"
_PRESET_FLAG = "--preset"


def train(parser: ArgumentParser, recipe: str = DEFAULT_PRESET) -> Action:
    """Train an encoder without paired labels; `dmnil-train evaluate --help` tells how to score."""
    with _needs_train_extra():
        from dmnil_train.config import TrainConfig
        from dmnil_train.loop import train as run
        from dmnil_train.reporting.summary import closing_lines
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        _PRESET_FLAG,
        type=str,
        default=recipe,
        help=f"settings to start from: {', '.join(PRESETS)}",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder, NAME.run")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run that lies in the output folder"
    )
    parser.add_class_arguments(TrainConfig, None, skip={"output", "resume"})
    parser.set_defaults(dict(preset(recipe)))

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        values.pop("config", None)
        if values.pop("preset") != recipe:
            raise ConfigError(
                f"preset belongs on the command line, not into a file: {_PRESET_FLAG}"
            )
        config = TrainConfig(**values)
        try:
            summary = run(config)
        except KeyboardInterrupt:
            sys.stderr.write(
                f"{NAME}: interrupted; the same command with --resume goes on from the last epoch\n"
            )
            raise SystemExit(EXIT_INTERRUPTED) from None
        _print(closing_lines(summary))

    return act


def evaluate(parser: ArgumentParser) -> Action:
    """Score an encoder bundle or checkpoint: recall, average precision, SDM; and in bad weather."""
    with _needs_train_extra():
        from dmnil_train.data.config import DataConfig
        from dmnil_train.data.layouts import open_retrieval_tasks
        from dmnil_train.evaluation.run import EvaluateConfig, run_evaluation
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("encoder", type=Path, help="encoder bundle or checkpoint (.safetensors)")
    parser.add_class_arguments(EvaluateConfig, None, skip={"encoder"})
    parser.add_class_arguments(DataConfig, "data")

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        data = values.pop("data")
        values.pop("config", None)
        report = run_evaluation(
            EvaluateConfig(**values), functools.partial(open_retrieval_tasks, data)
        )
        _print(report.table())

    return act


def main(arguments: Sequence[str] | None = None) -> int:
    """Train or evaluate; 0 when done, 2 when the user can put something right."""
    logging.basicConfig(level=logging.WARNING, format=f"{NAME}: %(message)s")
    logging.getLogger("dmnil_train").setLevel(logging.INFO)
    keep_freed_memory()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        sys.stderr.write(FIRST_STEPS)
        return 2
    if given[0] == _EVALUATE:
        return run_command(f"{NAME} {_EVALUATE}", evaluate, given[1:])
    return run_command(
        NAME, functools.wraps(train)(functools.partial(train, recipe=_recipe(given))), given
    )


def _recipe(arguments: list[str]) -> str:
    """The preset that the arguments name; parsing needs its defaults before it starts."""
    recipe = DEFAULT_PRESET
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == _PRESET_FLAG:
            recipe = value if equals else "".join(arguments[index + 1 : index + 2])
    return recipe


@contextmanager
def _needs_train_extra() -> Iterator[None]:
    """What fails to import inside it says which extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed: pip install 'dmnil-edge[train]'"
        ) from error


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
