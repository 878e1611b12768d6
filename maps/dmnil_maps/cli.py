"""The command `dmnil-map`: a subcommand is a file of `commands` and one entry of `_subcommands`."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from edge_runtime.command_line import EXIT_ERROR, Subcommand, run_subcommand

_EXIT_TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 when done, 2 when the user can put something right."""
    logging.basicConfig(level=logging.WARNING, format="dmnil-map: %(message)s")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # its errors are raised as well
    signal.signal(signal.SIGTERM, _terminate)
    try:
        subcommands = _subcommands()
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"dmnil-map: error: {error.name} is not installed: pip install 'dmnil-edge[maps]'\n"
        )
        return EXIT_ERROR
    return run_subcommand("dmnil-map", "Make and inspect region maps.", subcommands, arguments)


def _subcommands() -> dict[str, Subcommand]:
    """By name. Imported when asked for: without the extra `maps` there is nothing to import."""
    from dmnil_maps.commands.build import build
    from dmnil_maps.commands.cut import cut
    from dmnil_maps.commands.diff import diff
    from dmnil_maps.commands.export import export
    from dmnil_maps.commands.info import info
    from dmnil_maps.commands.merge import merge
    from dmnil_maps.commands.preview import preview
    from dmnil_maps.commands.sample import sample
    from dmnil_maps.commands.sign import keygen, sign
    from dmnil_maps.commands.store import store
    from dmnil_maps.commands.update import update
    from dmnil_maps.commands.verify import verify

    return {
        "build": build,
        "info": info,
        "verify": verify,
        "cut": cut,
        "merge": merge,
        "store": store,
        "update": update,
        "diff": diff,
        "preview": preview,
        "keygen": keygen,
        "sign": sign,
        "export": export,
        "sample": sample,
    }


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave through the stack, so that a half-written map is removed."""
    sys.exit(_EXIT_TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
