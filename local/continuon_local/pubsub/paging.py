"""Lists in pages: a page token is the name of the last resource shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.pubsub import limits
from continuon_local.pubsub.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.pubsub.messages import Message

__all__ = ["page"]


def page(request: Message, fetch: Callable[[str, int], list[Message]]) -> tuple[list[Message], str]:
    """Return one page of named resources and the token of the next, empty after the last.

    ``fetch`` returns up to so many resources with a name greater than the one it is given.

    Raises:
        PubSubError: INVALID_ARGUMENT: a negative page size.
    """
    if request.page_size < 0:
        raise invalid("page_size must not be negative.")
    size = min(request.page_size or limits.DEFAULT_PAGE, limits.MAX_PAGE)
    found = fetch(request.page_token, size + 1)
    token = found[size - 1].name if len(found) > size else ""
    return found[:size], token
