"""How every command of the toolkit ends: 0 done, 2 the user's to mend in one line, 130 stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable

from edge_runtime.contract.errors import DmnilError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def exit_code_of(command: str, action: Callable[[], None]) -> int:
    """Run a command's work and turn what goes wrong into one line on stderr and an exit code."""
    try:
        action()
    except DmnilError as error:
        sys.stderr.write(f"{command}: error: {' '.join(str(error).split())}\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"{command}: interrupted, nothing was written\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
    return 0
