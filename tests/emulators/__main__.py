"""One whole upload under the Firebase CLI's own emulators, with our Storage behind them.

The CLI runs the project's real functions, Hosting and Auth. Storage and Pub/Sub are ours;
Firestore is ours in the first variant and, where it is installed, Google's in the second. A robot
is claimed, asks for signed URLs through the CLI's Hosting, uploads, the finalize event goes to the
CLI's Functions emulator, and the episode must come out validated.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import targets
from conftest import local_services
from emulators import cli
from emulators.upload import prove

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> int:
    """Run every variant that this machine can run; return the exit status."""
    program = cli.find()
    if program is None:
        _print(f"The Firebase CLI is not here, so nothing was run: {cli.HOW_TO_INSTALL}")
        return 0
    _print(f"Firebase CLI {cli.version(program)}")
    references = targets.find_references()
    if isinstance(references, str):
        _print(f"Google's Firestore emulator is left out: {references}.")
    status = _variant(program, "our Firestore", None)
    if isinstance(references, targets.References):
        status |= _variant(program, "Google's Firestore", references)
    return status


def _variant(program: str, name: str, references: targets.References | None) -> int:
    _print(f"\n{name}, our Storage and Pub/Sub; Functions, Hosting and Auth of the Firebase CLI")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = stack.enter_context(_services(folder / "data", references))
        running = stack.enter_context(cli.running(program, folder / "project", environment))
        try:
            for step in prove(running):
                _print(f"  ok  {step}")
        except AssertionError as error:
            _print(f"  FAILED  {error}")
            _print(running.log()[-6000:])
            return 1
    return 0


@contextlib.contextmanager
def _services(data: Path, references: targets.References | None) -> Iterator[dict[str, str]]:
    """Run the services behind the CLI; yield the variables that point clients at them."""
    with contextlib.ExitStack() as stack:
        names = ["storage", "pubsub"] + ([] if references else ["firestore"])
        ports = stack.enter_context(local_services(*names, data_dir=data))
        if references:
            firestore = stack.enter_context(targets.google_emulators(references)).firestore
        else:
            firestore = f"127.0.0.1:{ports['firestore']}"
        yield {
            "GOOGLE_CLOUD_PROJECT": cli.PROJECT,
            "FIRESTORE_EMULATOR_HOST": firestore,
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
            "GOOGLE_APPLICATION_CREDENTIALS": str(next(data.rglob("service-account.json"))),
        }


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
