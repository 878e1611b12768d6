"""What subcommands write to stdout."""

from __future__ import annotations

import json
import sys


def print_line(text: str) -> None:
    """Write a result, or several lines of it."""
    sys.stdout.write(f"{text}\n")


def print_json(content: object) -> None:
    """Write a result for programs to read."""
    print_line(json.dumps(content, indent=2))
