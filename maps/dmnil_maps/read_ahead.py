"""Work done in the background, a few items ahead of whoever consumes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """The function's results in the order of the items, computed in background threads.

    Close the generator to stop the threads; an error of the function is raised in its place.

    Args:
        ahead: Results computed or held at most.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="read-ahead") as workers:
        pending: deque[Future[Result]] = deque()
        try:
            pending.extend(workers.submit(function, item) for item in islice(waiting, ahead))
            while pending:
                result = pending.popleft().result()
                pending.extend(workers.submit(function, item) for item in islice(waiting, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
