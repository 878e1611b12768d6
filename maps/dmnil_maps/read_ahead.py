"""Reading in the background, a few items ahead of whoever consumes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The same items in the same order, drawn in one background thread.

    Close the generator to stop the thread; an error in `items` is raised in its place.

    Args:
        items: Must not yield None.
        depth: Items held at most.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        pending = deque(reader.submit(next, items, None) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not None:
                pending.append(reader.submit(next, items, None))
                yield item
        finally:
            for future in pending:
                future.cancel()
