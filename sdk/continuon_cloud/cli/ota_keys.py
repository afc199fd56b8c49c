"""`continuon ota keys ...`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from continuon_cloud.cli.ota_library import (
    KeysOption,
    PassphraseFileOption,
    PlainOption,
    passphrase_of,
    refusals,
)
from continuon_cloud.cli.render import columns
from continuon_cloud.cli.state import JSON, confirm, state_of
from continuon_cloud.client import ContinuonClient

if TYPE_CHECKING:
    from continuon_cloud.ota.key_folder import KeyFolder
    from continuon_cloud.ota.key_rules import Missing, RoleState

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Who may sign updates: make keys, rotate and revoke them. Works without a network.",
)

DEFAULT_KEYS = Path("ota-keys")
_SOON_DAYS = 30
NameArgument = Annotated[str, typer.Argument(help="A key, as `keys status` names it.")]
OnlineOption = Annotated[
    str | None,
    typer.Option("--online", help="Cloud KMS key for snapshot and timestamp: gcpkms:projects/..."),
]


def _open(keys: Path, passphrase: bytes | None) -> "KeyFolder":
    from continuon_cloud.ota.key_folder import KeyFolder  # noqa: PLC0415 - an optional library

    return KeyFolder(keys, passphrase)


@app.command()
def init(
    context: typer.Context,
    robot_model: Annotated[
        list[str], typer.Option("--robot-model", help="Once for each robot model.")
    ],
    keys: KeysOption = DEFAULT_KEYS,
    *,
    root_keys: Annotated[int, typer.Option(min=1, max=20, help="For as many people.")] = 3,
    root_threshold: Annotated[int, typer.Option(min=1, max=20, help="Needed for a root.")] = 2,
    online: OnlineOption = None,
    passphrase_file: PassphraseFileOption = None,
    no_passphrase: PlainOption = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Make all keys and sign the first root, targets and robot models' roles.

    Do it on a machine without a network. For example:

      continuon ota keys init --robot-model companion-v1 --keys ota-keys
    """
    state = state_of(context)
    passphrase = passphrase_of(passphrase_file, plain=no_passphrase, confirm=True)
    with refusals():
        names = _open(keys, passphrase).init(
            robot_model,
            root_keys=root_keys,
            root_threshold=root_threshold,
            online=online,
            now=datetime.now(UTC),
        )

    def human(out: Console) -> None:
        out.print(f"Keys and metadata are in [bold]{escape(str(keys))}[/].")
        out.print("1. Give each root key to another person, and delete it here.")
        if online is None:
            path = (keys / "keys" / "online.pem").absolute()
            out.print("2. Give the cloud its online key:")
            out.print(f"   CONTINUON_OTA_SNAPSHOT_KEY=file2:{escape(str(path))}", soft_wrap=True)
        else:
            out.print(f"2. Give the cloud its online key: CONTINUON_OTA_SNAPSHOT_KEY={online}")
        out.print(f"3. Publish: continuon ota keys upload --keys {escape(str(keys))}")
        root = keys / "metadata" / "1.root.json"
        out.print(f"4. On each robot: continuon ota trust {escape(str(root))}")

    state.show({"folder": str(keys), "files": names}, human)


@app.command()
def status(
    context: typer.Context,
    keys: KeysOption = DEFAULT_KEYS,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show each role: version, expiry, keys, and what is missing. A star: the key is here."""
    state = state_of(context)
    with refusals():
        folder = _open(keys, None)
        roles, online = folder.state(), folder.online_keys()
    now = datetime.now(UTC)

    def human(out: Console) -> None:
        _print_roles(out, roles, now)
        out.print(f"snapshot and timestamp are signed online by {escape(', '.join(online))}")

    state.show({"roles": [_document(role) for role in roles], "online_keys": online}, human)


@app.command()
def delegate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A robot model.")],
    keys: KeysOption = DEFAULT_KEYS,
    passphrase_file: PassphraseFileOption = None,
    *,
    no_passphrase: PlainOption = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Add a robot model, with a key of its own. Needs the targets key.

    For example:

      continuon ota keys delegate arm-v2 && continuon ota keys upload
    """
    passphrase = passphrase_of(passphrase_file, plain=no_passphrase)
    with refusals():
        folder = _open(keys, passphrase)
        changed = folder.delegate(model, datetime.now(UTC))
        _show_changed(context, keys, folder, changed)


@app.command()
def rotate(
    context: typer.Context,
    name: NameArgument,
    keys: KeysOption = DEFAULT_KEYS,
    online: OnlineOption = None,
    passphrase_file: PassphraseFileOption = None,
    *,
    no_passphrase: PlainOption = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Replace a key by a new one, everywhere it is used. Upload, then destroy the old one.

    For example:

      continuon ota keys rotate online && continuon ota keys upload
    """
    passphrase = passphrase_of(passphrase_file, plain=no_passphrase)
    with refusals():
        folder = _open(keys, passphrase)
        changed = folder.rotate(name, datetime.now(UTC), online=online)
        _show_changed(context, keys, folder, changed)


@app.command()
def revoke(
    context: typer.Context,
    name: NameArgument,
    keys: KeysOption = DEFAULT_KEYS,
    passphrase_file: PassphraseFileOption = None,
    *,
    no_passphrase: PlainOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Take a key away, where enough others are left. A role's only key is rotated instead."""
    if not yes:
        confirm(f"Revoke {name}?")
    passphrase = passphrase_of(passphrase_file, plain=no_passphrase)
    with refusals():
        folder = _open(keys, passphrase)
        changed = folder.revoke(name, datetime.now(UTC))
        _show_changed(context, keys, folder, changed)


@app.command()
def renew(
    context: typer.Context,
    role: Annotated[str, typer.Argument(help="root, targets, or a robot model.")],
    keys: KeysOption = DEFAULT_KEYS,
    passphrase_file: PassphraseFileOption = None,
    *,
    no_passphrase: PlainOption = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Sign a role anew before it expires, with nothing else changed."""
    passphrase = passphrase_of(passphrase_file, plain=no_passphrase)
    with refusals():
        folder = _open(keys, passphrase)
        changed = folder.renew(role, datetime.now(UTC))
        _show_changed(context, keys, folder, changed)


@app.command()
def sign(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A metadata file, such as 2.root.json.")],
    key: Annotated[Path, typer.Option("--key", help="The private key, a PEM file.")],
    passphrase_file: PassphraseFileOption = None,
    *,
    no_passphrase: PlainOption = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Add a signature to a file, on whatever machine the key is.

    For example:

      continuon ota keys sign 2.root.json --key root-2.pem
    """
    state = state_of(context)
    passphrase = passphrase_of(passphrase_file, plain=no_passphrase)
    with refusals():
        _open(file.parent, passphrase).sign_file(file, key)
    state.show(
        {"file": str(file)}, lambda out: out.print(f"{escape(str(file))} has one more signature.")
    )


@app.command()
def upload(
    context: typer.Context,
    keys: KeysOption = DEFAULT_KEYS,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Send signed metadata to the cloud, which verifies it and makes it current. For operators.

    What is there already is passed over, so it may be repeated.
    """
    state = state_of(context)

    async def send() -> list[str]:
        from continuon_cloud.ota.publishing import (  # noqa: PLC0415 - an optional library
            upload_metadata,
        )

        async with ContinuonClient(state.settings()) as client:
            folder = _open(keys, None)
            return await upload_metadata(client, folder, folder.files())

    with refusals():
        files = state.run(send())
    state.show(
        {"files": files},
        lambda out: out.print(
            f"Published: {escape(', '.join(files))}" if files else "Everything was there already."
        ),
    )


def _show_changed(
    context: typer.Context, keys: Path, folder: "KeyFolder", changed: list[str]
) -> None:
    missing = {role.role: role.missing for role in folder.state() if role.missing}

    def human(out: Console) -> None:
        for name in changed:
            out.print(f"Wrote [bold]{escape(str(keys / 'metadata' / name))}[/]")
        for role, lacks in missing.items():
            for one in lacks:
                out.print(
                    f"  [yellow]{role}[/]: {one.count} more signatures, of "
                    f"{', '.join(one.keys)}: continuon ota keys sign FILE --key KEY.pem"
                )
        if not missing:
            out.print(f"Next: continuon ota keys upload --keys {escape(str(keys))}")

    document = {
        "files": changed,
        "missing": {role: _lacks(lacks) for role, lacks in missing.items()},
    }
    state_of(context).show(document, human)


def _lacks(missing: "tuple[Missing, ...]") -> list[dict[str, Any]]:
    return [{"count": one.count, "keys": list(one.keys)} for one in missing]


def _document(role: "RoleState") -> dict[str, Any]:
    return {
        "role": role.role,
        "version": role.version,
        "expires": role.expires.isoformat(),
        "threshold": role.threshold,
        "keys": [name.removesuffix("*") for name in role.keys],
        "keys_here": [name.removesuffix("*") for name in role.keys if name.endswith("*")],
        "missing": _lacks(role.missing),
    }


def _print_roles(out: Console, roles: "list[RoleState]", now: datetime) -> None:
    table = columns("role", "version", "expires", "needs", "keys")
    for role in roles:
        days = (role.expires - now).days
        style = "red" if days < 0 else "yellow" if days < _SOON_DAYS else "default"
        lacks = "".join(f", [red]{one.count} signatures missing[/]" for one in role.missing)
        table.add_row(
            escape(role.role),
            str(role.version),
            f"[{style}]{role.expires:%Y-%m-%d} ({days} days)[/]",
            f"{role.threshold} of {len(role.keys)}",
            escape(", ".join(role.keys)) + lacks,
        )
    out.print(table)
