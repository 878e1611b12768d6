"""How every command of the toolkit reads its options and ends.

Exit status 0 when done, 2 with one line on stderr where the user can put something right, 130 when
stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import Action as Argument
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from threadpoolctl import threadpool_limits

from edge_runtime import __version__
from edge_runtime.contract.errors import ConfigError, DmnilError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

_LONGEST_NAME, _LONGEST_PATH = 255, 4096
_LONGEST_USAGE = 16
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

Action = Callable[[Any], None]
"""What a command does with its parsed options."""
Subcommand = Callable[[ArgumentParser], Action]
"""Adds its options to a parser and returns its action; its docstring is its help."""


def run_command(name: str, subcommand: Subcommand, arguments: Sequence[str] | None) -> int:
    """Run a command that has no subcommands; returns the exit status."""

    def work() -> None:
        parser = _parser(name, subcommand.__doc__)
        action = subcommand(parser)
        _shorten_usage(parser, name)
        options = _parse(parser, arguments)
        _refuse_unusable(parser, options)
        action(options)

    return exit_status_of(name, work)


def run_subcommand(
    name: str,
    description: str,
    subcommands: Mapping[str, Subcommand],
    arguments: Sequence[str] | None,
) -> int:
    """Run the subcommand that the arguments name; returns the exit status."""

    def work() -> None:
        parser = _parser(name, description)
        choices = parser.add_subcommands()
        actions, subparsers = {}, {}
        for word, subcommand in subcommands.items():
            subparser = _Parser(description=subcommand.__doc__, exit_on_error=False)
            actions[word], subparsers[word] = subcommand(subparser), subparser
            _shorten_usage(subparser, f"{name} {word}")
            choices.add_subcommand(word, subparser, help=subcommand.__doc__)
        given = _parse(parser, arguments)
        options = given[given.subcommand]
        _refuse_unusable(subparsers[given.subcommand], options)
        actions[given.subcommand](options)

    return exit_status_of(name, work)


def exit_status_of(name: str, work: Callable[[], None]) -> int:
    """Do a command's work and turn what goes wrong into one line and an exit status.

    Products of matrices run on one thread: ours are small, and BLAS threads that wait for each
    other on busy cores were seen to take a hundred times longer. Engines have their own threads.
    """
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            work()
    except DmnilError as error:
        sys.stderr.write(f"{name}: error: {' '.join(str(error).split())}\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted, nothing was written\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
    return 0


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments whose option names may be written with dashes: --input-size.

    A printed configuration explains its keys unless other flags are given for it.
    """
    spelled = []
    for argument in arguments:
        if argument in ("--print_config", "--print-config"):
            spelled.append("--print_config=comments")
            continue
        name, equals, value = argument.partition("=")
        is_option = name.startswith("--") and len(name) > 2
        spelled.append(
            "--" + name[2:].replace("-", "_") + equals + value if is_option else argument
        )
    return spelled


class _Parser(ArgumentParser):
    """A parser whose help names types as people do: Path, not <class 'Path'>."""

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        return _without_class_names(super().format_help(*args, **kwargs))


def _parser(name: str, description: str | None) -> ArgumentParser:
    return _Parser(prog=name, description=description, version=__version__, exit_on_error=False)


def _shorten_usage(parser: ArgumentParser, name: str) -> None:
    """State only what must be given where all options would fill screens before their help."""
    if len(parser._actions) <= _LONGEST_USAGE:
        return
    must = [
        f"{action.option_strings[-1]} {action.dest.rpartition('.')[2].upper()}"
        if action.option_strings
        else action.dest
        for action in parser._actions
        if action.required or not action.option_strings
    ]
    parser.usage = " ".join([name, "[options]", *must])


def _without_class_names(text: str) -> str:
    return re.sub(r"<class\s+'(?:\w+\.)*(\w+)'>", r"\1", text)


def _plain(error: ArgumentError) -> str:
    """The parser's complaint, less the names that Python has for things."""
    text = _without_class_names(str(error)).replace('"<unicode string>"', "the settings")
    if text.startswith("Unexpected config"):
        return "the settings file must hold keys and values, and holds none"
    return text.replace("Expected a typing.Literal[", "Expected one of [")


def _parse(parser: ArgumentParser, arguments: Sequence[str] | None) -> Any:
    try:
        return parser.parse_args(with_underscores(sys.argv[1:] if arguments is None else arguments))
    except ArgumentError as error:
        raise ConfigError(f"{_plain(error)}; --help lists the options") from error
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # A settings file that is no text, or holds numbers that no machine has.
        raise ConfigError(f"the settings cannot be read: {error}") from error


def _refuse_unusable(parser: ArgumentParser, options: Any) -> None:
    """Refuse what the parser lets pass and no command can use.

    Keys that a settings file names and leaves empty, which it takes for null; groups of settings
    that are a plain value; texts that no file system takes for a name.

    Raises:
        ConfigError: If there is one.
    """
    defaults = parser.get_defaults()
    for action in parser._actions:
        *groups, name = action.dest.split(".")
        values, usual, path = options, defaults, ""
        for group in groups:
            values = values.get(group)
            usual = usual.get(group) if isinstance(usual, Namespace) else None
            path = f"{path}{group}."
            if values is None and usual is None:
                break  # settings that may be left out as a whole
            if not isinstance(values, Namespace):
                raise ConfigError(
                    f"{path[:-1]} must hold keys and values, is {_shown(values)}: leave it out "
                    "for its defaults"
                )
        if values is None:
            continue
        if name in values and values[name] is None and not _may_be_none(action):
            raise ConfigError(f"{action.dest} is empty: give it a value, or leave the key out")
        text = str(values[name]) if isinstance(values.get(name), (str, Path)) else ""
        if "\0" in text:
            raise ConfigError(f"{action.dest} holds a NUL, which no name has: {ascii(text)[:80]}")
        if isinstance(values.get(name), Path) and not _is_possible(text):
            raise ConfigError(f"{action.dest} cannot be a file's name: {ascii(text)[:80]}")


def _may_be_none(argument: Argument) -> bool:
    """Whether null is a value of a setting: its default is nothing, or its type `... | None`."""
    hint = getattr(argument, "_typehint", None)
    return argument.default is None or type(None) in get_args(hint)


def _is_possible(path: str) -> bool:
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return len(name) < _LONGEST_PATH and max(map(len, name.split(b"/"))) <= _LONGEST_NAME


def _shown(value: Any) -> str:
    return "empty" if value is None else repr(value)[:80]
