"""The ``hosting`` section of ``firebase.json``, checked when it is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from continuon_local.errors import ConfigurationError
from continuon_local.hosting.globs import compile_glob, compile_regex

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from continuon_local.hosting.globs import Pattern

__all__ = ["FunctionTarget", "HeaderRule", "HostingConfig", "Redirect", "Rewrite", "parse_hosting"]

_REDIRECT_TYPES = (301, 302, 303, 307, 308)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_T = TypeVar("_T")


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Camel-case keys; an unknown one is an error."""


class _Function(_Strict):
    function_id: str
    region: str | None = None
    pin_tag: bool | None = None


class _Run(_Strict):
    service_id: str
    region: str | None = None
    pin_tag: bool | None = None


class _Rewrite(_Strict):
    source: str | None = None
    glob: str | None = None
    regex: str | None = None
    destination: str | None = None
    function: str | _Function | None = None
    run: _Run | None = None
    region: str | None = None


class _Redirect(_Strict):
    destination: str
    source: str | None = None
    glob: str | None = None
    regex: str | None = None
    type: int = 301


class _Header(_Strict):
    key: str
    value: str


class _Headers(_Strict):
    headers: list[_Header]
    source: str | None = None
    glob: str | None = None
    regex: str | None = None


class _Hosting(_Strict):
    public: str
    site: str | None = None
    target: str | None = None
    ignore: list[str] = []
    rewrites: list[Any] = []
    redirects: list[Any] = []
    headers: list[Any] = []
    clean_urls: bool = False
    trailing_slash: bool | None = None
    app_association: str | None = None
    predeploy: list[str] | str = []
    postdeploy: list[str] | str = []


@dataclass(frozen=True, kw_only=True)
class FunctionTarget:
    """The function a rewrite calls; without a region, the one deployed under that id."""

    function_id: str
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """Serve ``destination``, or a function, or a Cloud Run service, under a matching path."""

    pattern: Pattern
    destination: str | None = None
    function: FunctionTarget | None = None
    run_service: str | None = None


@dataclass(frozen=True, kw_only=True)
class Redirect:
    """Answer a matching path with ``status`` and a location; ``:name`` stands for a capture."""

    pattern: Pattern
    destination: str
    status: int


@dataclass(frozen=True, kw_only=True)
class HeaderRule:
    """Add ``headers`` to the answer under a matching path."""

    pattern: Pattern
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class HostingConfig:
    """What Firebase Hosting would serve.

    Attributes:
        public: The folder of static files, absolute.
        ignore: Patterns of files, relative to ``public``, that are not served.
        trailing_slash: Whether static paths end in a slash; None leaves them.
    """

    public: Path
    ignore: tuple[Pattern, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    headers: tuple[HeaderRule, ...] = ()
    clean_urls: bool = False
    trailing_slash: bool | None = None


def parse_hosting(section: Any, path: Path) -> HostingConfig:
    """Check the section and compile its patterns; ``path`` is the ``firebase.json`` it is from.

    Raises:
        ConfigurationError: A key is unknown or has a wrong value; the message names both.
    """
    where = f"{path}: hosting"
    if isinstance(section, list):
        if len(section) != 1:
            raise ConfigurationError(f"{where}: the local cloud serves one site")
        section = section[0]
    raw = _convert(section, _Hosting, where)
    return HostingConfig(
        public=(path.parent / raw.public).resolve(),
        ignore=tuple(_ignore_pattern(text, f"{where}.ignore") for text in raw.ignore),
        rewrites=_each(raw.rewrites, f"{where}.rewrites", _rewrite),
        redirects=_each(raw.redirects, f"{where}.redirects", _redirect),
        headers=_each(raw.headers, f"{where}.headers", _header_rule),
        clean_urls=raw.clean_urls,
        trailing_slash=raw.trailing_slash,
    )


def _each(items: list[Any], where: str, parse: Callable[[Any, str], _T]) -> tuple[_T, ...]:
    return tuple(parse(item, f"{where}[{index}]") for index, item in enumerate(items))


def _convert(raw: Any, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _pattern(rule: _Rewrite | _Redirect | _Headers, where: str) -> Pattern:
    given = [text for text in (rule.source, rule.glob, rule.regex) if text is not None]
    if len(given) != 1:
        raise ConfigurationError(f"{where}: exactly one of source, glob and regex is needed")
    try:
        return compile_glob(given[0]) if rule.regex is None else compile_regex(given[0])
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _ignore_pattern(text: str, where: str) -> Pattern:
    # As in .gitignore, a pattern without a slash applies at any depth.
    try:
        return compile_glob(text if "/" in text else f"**/{text}")
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _rewrite(raw: Any, where: str) -> Rewrite:
    rule = _convert(raw, _Rewrite, where)
    targets = [t for t in (rule.destination, rule.function, rule.run) if t is not None]
    if len(targets) != 1:
        raise ConfigurationError(f"{where}: exactly one of destination, function and run is needed")
    return Rewrite(
        pattern=_pattern(rule, where),
        destination=rule.destination,
        function=_function_target(rule),
        run_service=None if rule.run is None else rule.run.service_id,
    )


def _function_target(rule: _Rewrite) -> FunctionTarget | None:
    if rule.function is None:
        return None
    if isinstance(rule.function, str):
        return FunctionTarget(function_id=rule.function, region=rule.region)
    return FunctionTarget(function_id=rule.function.function_id, region=rule.function.region)


def _redirect(raw: Any, where: str) -> Redirect:
    rule = _convert(raw, _Redirect, where)
    if rule.type not in _REDIRECT_TYPES:
        raise ConfigurationError(f"{where}.type: one of {_REDIRECT_TYPES}, not {rule.type}")
    return Redirect(pattern=_pattern(rule, where), destination=rule.destination, status=rule.type)


def _header_rule(raw: Any, where: str) -> HeaderRule:
    rule = _convert(raw, _Headers, where)
    for header in rule.headers:
        if not _HEADER_NAME.fullmatch(header.key) or not _HEADER_VALUE.fullmatch(header.value):
            raise ConfigurationError(f"{where}.headers: {header.key!r} cannot be sent as a header")
    return HeaderRule(
        pattern=_pattern(rule, where),
        headers=tuple((header.key.lower(), header.value) for header in rule.headers),
    )
