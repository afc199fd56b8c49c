"""The literals of the rules language: what is between the quotes."""

from __future__ import annotations

import re

__all__ = ["decode_bytes", "decode_string", "quote"]

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([0-3][0-7]{2})|(.))", re.DOTALL)
_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "'": "'",
    '"': '"',
    "\\": "\\",
    "?": "?",
    "`": "`",
}


def _replacement(match: re.Match[str]) -> str:
    hexadecimal, unicode, octal, simple = match.groups()
    if hexadecimal or unicode:
        return chr(int(hexadecimal or unicode, 16))
    if octal:
        return chr(int(octal, 8))
    if simple not in _SIMPLE:
        raise ValueError(f"Unexpected '{simple}' after a backslash.")
    return _SIMPLE[simple]


def decode_string(token: str) -> str:
    r"""Return the text of a quoted literal: ``\n \t \\ \' \" \xHH \uHHHH \ooo``.

    Two escapes that form a surrogate pair are one character.

    Raises:
        ValueError: An escape that the language does not have.
    """
    text = _ESCAPE.sub(_replacement, token[1:-1])
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def decode_bytes(token: str) -> bytes:
    r"""Return the bytes of ``b'...'``: ASCII text, and any byte as ``\xHH`` or ``\ooo``.

    Raises:
        ValueError: A character or an escape that bytes do not have.
    """
    text = _ESCAPE.sub(_replacement, token[2:-1])
    if not token.isascii() or "\\u" in token.replace("\\\\", ""):
        raise ValueError(f"Invalid bytes literal {token}.")
    return text.encode("latin-1")


def quote(text: str) -> str:
    """Return the literal of ``text``."""
    return "'" + "".join(map(_quoted, text)) + "'"


def _quoted(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    code = ord(character)
    if character.isprintable() and not 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - surrogates
        return character
    if code > 0xFFFF:  # noqa: PLR2004 - beyond the escape's four digits
        pair = character.encode("utf-16-be")
        return f"\\u{pair[:2].hex()}\\u{pair[2:].hex()}"
    return f"\\u{code:04x}"
