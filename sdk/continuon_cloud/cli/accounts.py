"""`continuon login`, `logout`, `whoami`."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from continuon.contracts.robots import UserProfile
from continuon_cloud.cli.state import JSON, CliState, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import SignInError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command()(login)
    app.command()(logout)
    app.command()(whoami)


def login(
    context: typer.Context,
    email: Annotated[str, typer.Option(help="Your e-mail address.", prompt=True)],
    *,
    create: Annotated[bool, typer.Option("--create", help="Make a new account first.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Sign in; the session is kept, owner-only, in your home folder.

    For example:

      continuon login --email you@example.com --create
      printf '%s' "$PASSWORD" | continuon login --email you@example.com --password-stdin
    """
    state = state_of(context)
    password = _password(confirm=create, stdin=password_stdin)

    async def sign_in() -> dict[str, Any]:
        async with ContinuonClient(state.settings()) as client:
            session = await client.accounts.sign_in(email, password, create=create)
        return {"uid": session.uid, "email": session.email, "url": session.base_url}

    answer = state.run(sign_in())
    state.show(
        answer,
        lambda out: out.print(
            f"Signed in to {escape(answer['url'])} as [bold]{escape(answer['email'])}[/]."
        ),
    )


def logout(context: typer.Context, *, _json: Annotated[bool, JSON] = False) -> None:
    """Forget the session on this machine. Robots keep their own keys."""
    state = state_of(context)

    async def forget() -> bool:
        async with ContinuonClient(state.settings()) as client:
            return client.accounts.sign_out()

    was = state.run(forget())
    state.show(
        {"signed_out": was},
        lambda out: out.print("Signed out." if was else "Nobody was signed in."),
    )


def whoami(context: typer.Context, *, _json: Annotated[bool, JSON] = False) -> None:
    """Show who is signed in, with roles, plan and quota.

    For example:

      continuon whoami --json
    """
    state = state_of(context)

    async def ask() -> UserProfile:
        async with ContinuonClient(state.settings()) as client:
            return await client.me()

    profile = state.run(ask())
    state.show(profile.model_dump(mode="json"), lambda out: _print_profile(out, state, profile))


def _print_profile(out: Console, state: CliState, profile: UserProfile) -> None:
    quota = profile.quota
    out.print(f"[bold]{escape(profile.email or profile.uid)}[/] at {state.settings().base_url}")
    out.print(f"  roles    {', '.join(profile.roles)}")
    out.print(f"  plan     {escape(profile.plan)}")
    out.print(f"  robots   {quota.robots_used} of {quota.robots_limit}")
    out.print(f"  episodes {quota.episodes_used} of {quota.episodes_limit}")


def _password(*, confirm: bool, stdin: bool) -> str:
    if stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = str(
            typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
        )
    if not password:
        raise SignInError("the password is empty", code="auth.password_missing")
    return password
