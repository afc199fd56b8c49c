"""Options that several commands about jobs share, and how they are read."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

__all__ = ["LabelOption", "ParamOption", "hyperparams_of", "wrong_usage"]

LabelOption = Annotated[
    str | None, typer.Option("--backend-label", help="Of the workers, with --backend pull.")
]
ParamOption = Annotated[
    list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE; the value is JSON.")
]


def wrong_usage(error: ValidationError) -> typer.BadParameter:
    """Return a request's first defect as the command line's."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    # Pydantic says so of what a validator of ours refused in its own words.
    words = first["msg"].removeprefix("Value error, ")
    return typer.BadParameter(f"{place}: {words}" if place else words)


def hyperparams_of(file: Path | None, params: list[str]) -> dict[str, Any]:
    """Return the hyperparameters: those of the file, then those named one by one.

    Raises:
        typer.BadParameter: The file holds no JSON object, or one is not NAME=VALUE.
    """
    found: Any = {}
    if file is not None:
        try:
            found = json.loads(file.read_bytes())
        except ValueError as error:
            raise typer.BadParameter(f"{file} is not JSON", param_hint="--hyperparams") from error
        if not isinstance(found, dict):
            raise typer.BadParameter(f"{file} is no JSON object", param_hint="--hyperparams")
    for param in params:
        name, sign, text = param.partition("=")
        if not name or not sign:
            raise typer.BadParameter(f"{param!r} is not NAME=VALUE", param_hint="--param")
        try:
            found[name] = json.loads(text)
        except ValueError:
            # A word without quotes is a word.
            found[name] = text
    return dict(found)
