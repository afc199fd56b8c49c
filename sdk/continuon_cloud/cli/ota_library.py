"""What the commands about signed metadata share: the optional library, passphrases, errors."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from continuon.ota.errors import OtaError
from continuon_cloud.errors import SettingsError
from continuon_cloud.files import read_private
from continuon_cloud.ota.errors import UpdateError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KeysOption", "PassphraseFileOption", "PlainOption", "passphrase_of", "refusals"]

_VARIABLE: Final = "CONTINUON_OTA_PASSPHRASE"

KeysOption = Annotated[
    Path, typer.Option("--keys", help="Folder of private keys and signed metadata.")
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help=f"Owner-only file with the passphrase, else {_VARIABLE}, else it is asked for.",
    ),
]
PlainOption = Annotated[
    bool, typer.Option("--no-passphrase", help="The key files are not encrypted.")
]


@contextmanager
def refusals() -> Iterator[None]:
    """Turn refusals of the shared library, and its absence, into errors that are shown.

    Raises:
        UpdateError: A refusal, or ``ota.library_missing``.
    """
    try:
        yield
    except OtaError as error:
        raise UpdateError(str(error), code=error.code) from error
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {"tuf", "securesystemslib"}:
            raise
        raise UpdateError(
            "the libraries that verify updates are not installed; nothing is installed without",
            code="ota.library_missing",
            hint="pip install 'continuon-cloud[ota]'",
        ) from error


def passphrase_of(file: Path | None, *, plain: bool, confirm: bool = False) -> bytes | None:
    """Return the passphrase of key files, or None when they have none.

    Raises:
        SettingsError: The file is missing, open to others, or the passphrase is empty.
    """
    if plain:
        return None
    if file is not None:
        try:
            text = read_private(file).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} cannot be read as a passphrase") from error
    elif _VARIABLE in os.environ:
        text = os.environ[_VARIABLE]
    else:
        text = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    if not text:
        raise SettingsError("the passphrase is empty", hint="--no-passphrase says so on purpose.")
    return text.encode()
