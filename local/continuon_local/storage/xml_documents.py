"""Documents of the XML API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["document", "node"]

_NAMESPACES = {
    "ListBucketResult": "http://doc.s3.amazonaws.com/2006-03-01",
}
_UPLOADS_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# What XML 1.0 cannot carry in any form.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


class _Markup(str):
    """Text that is XML already."""

    __slots__ = ()


def node(name: str, *content: str) -> str:
    """Return an element of texts, which are escaped, or of further elements, which are not."""
    inner = "".join(
        part if isinstance(part, _Markup) else escape(_UNPRINTABLE.sub("\ufffd", part))
        for part in content
    )
    return _Markup(f"<{name}>{inner}</{name}>")


def document(name: str, nodes: Iterable[str]) -> Response:
    """Return an answer whose root element is ``name``."""
    namespace = _NAMESPACES.get(name, _UPLOADS_NAMESPACE)
    head = "<?xml version='1.0' encoding='UTF-8'?>"
    text = f"{head}<{name} xmlns='{namespace}'>{''.join(nodes)}</{name}>"
    return Response(text, media_type="application/xml; charset=UTF-8")
