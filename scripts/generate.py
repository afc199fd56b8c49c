"""Renew the files that are generated from code, or with --check say which of them are stale.

hosting/api/openapi.json     the whole HTTP surface, merged from every codebase's applications
hosting/docs/problems.html   every code an API error can carry
hosting/docs/episode-codes.html  every code an episode's report can carry
docs/problems.md, docs/episode-codes.md  the same for readers of the repository
"""

from __future__ import annotations

import argparse
import html
import importlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(path) for path in sorted((ROOT / "functions").iterdir()) if path.is_dir()]
os.environ.setdefault("GOOGLE_CLOUD_PROJECT", "demo-continuon")

from continuon.errors import ProblemType  # noqa: E402 - the codebases' folders come first
from continuon.rlds import codes  # noqa: E402 - same

if TYPE_CHECKING:
    from collections.abc import Iterable

APPLICATIONS = (
    "continuon_rlds.api.uploads",
    "continuon_rlds.api.ingest",
    "continuon_rlds.api.episodes",
    "continuon_fleet.api",
    "continuon_models.api.surface",
    "continuon_ota.api.surface",
    "continuon_training.api.surface",
)
"""Modules whose ``app()`` is the application of one HTTP function."""

PROBLEM_MODULES = (
    "continuon.auth.problems",
    "continuon.paging",
    "continuon.platform.problems",
    "continuon_fleet.errors",
    "continuon_models.errors",
    "continuon_ota.errors",
    "continuon_rlds.errors",
    "continuon_training.errors",
    "continuon_training.webhooks.errors",
)

_OPEN_ROUTES = {"/api/health"}
_SECURITY_SCHEMES = {
    "IdToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A person: the Firebase ID token of the signed-in account.",
    },
    "JobToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "A trainer: the token that came with its job. It works for that job and "
        "attempt only, until the job ends.",
    },
    "RobotSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Signature",
        "description": "A robot: HTTP Message Signatures (RFC 9421) with its Ed25519 device key, "
        "tag `continuon`, `keyid` = robot id, covering `@method`, `@path`, `@query` when there is "
        "one and `content-digest` (RFC 9530) when there is a body, with `created` and `nonce`.",
    },
}


def openapi() -> dict[str, Any]:
    """Return the merged OpenAPI document of every HTTP function.

    Raises:
        ValueError: Two functions serve the same path, or name different schemas alike.
    """
    merged: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Continuon Cloud",
            "version": "0.1.0",
            "description": "The backend that a robot fleet learns through.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {},
        "components": {"schemas": {}, "securitySchemes": _SECURITY_SCHEMES},
    }
    for name in APPLICATIONS:
        document = importlib.import_module(name).app().openapi()
        _merge(merged["paths"], document["paths"], name)
        _merge(merged["components"]["schemas"], document.get("components", {})["schemas"], name)
    for path, operations in merged["paths"].items():
        for operation in operations.values():
            if path not in _OPEN_ROUTES:
                operation["security"] = [{name: []} for name in _SECURITY_SCHEMES]
    merged["paths"] = dict(sorted(merged["paths"].items()))
    merged["components"]["schemas"] = dict(sorted(merged["components"]["schemas"].items()))
    return merged


def _merge(target: dict[str, Any], source: dict[str, Any], origin: str) -> None:
    for key, value in source.items():
        if target.setdefault(key, value) != value:
            raise ValueError(f"{origin} describes {key} differently from another function")


@dataclass(frozen=True)
class Row:
    """One code in a table of the documentation."""

    code: str
    kind: str
    sentence: str
    remedy: str


def problem_rows() -> list[Row]:
    """Return every problem type of the API, by code.

    Raises:
        ValueError: Two types share a code.
    """
    found: dict[str, ProblemType] = {}
    for name in PROBLEM_MODULES:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, ProblemType) and found.setdefault(value.code, value) != value:
                raise ValueError(f"{value.code} is defined twice")
    return [Row(t.code, str(t.status), t.title, t.remedy) for _, t in sorted(found.items())]


def episode_rows() -> list[Row]:
    """Return every finding of the episode validator, in the order of the code's own table."""
    return [Row(c.name, c.severity, c.sentence, c.remedy) for c in codes.CODES.values()]


def markdown(title: str, introduction: str, kind: str, rows: Iterable[Row]) -> str:
    """Render a table of codes as Markdown."""
    lines = [
        "<!-- Generated by `make generate`; do not edit. -->",
        f"# {title}",
        "",
        introduction,
        "",
        f"| code | {kind} | what it says | what to do |",
        "|---|---|---|---|",
        *(f"| `{r.code}` | {r.kind} | {r.sentence} | {r.remedy} |" for r in rows),
    ]
    return "\n".join(lines) + "\n"


def page(title: str, introduction: str, kind: str, rows: Iterable[Row]) -> str:
    """Render a table of codes as a page of the site; each code is an anchor."""
    body = "\n".join(
        f'        <tr id="{r.code}"><td><a href="#{r.code}"><code>{r.code}</code></a></td>'
        f"<td>{r.kind}</td><td>{_prose(r.sentence)}</td><td>{_prose(r.remedy)}</td></tr>"
        for r in rows
    )
    template = (ROOT / "scripts" / "codes_page.html").read_text(encoding="utf-8")
    values = {"title": title, "introduction": _prose(introduction), "kind": kind, "rows": body}
    for name, value in values.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def _prose(text: str) -> str:
    parts = html.escape(text, quote=False).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def files() -> dict[Path, str]:
    """Return the content of every generated file."""
    problems = (
        "Error codes",
        (
            "Every error answer is a problem details object (RFC 9457) with one of these codes in "
            "`code`. Codes are stable: branch on them, not on the text."
        ),
        "status",
        problem_rows(),
    )
    episodes = (
        "Episode codes",
        (
            "Every problem and warning that the episode validator reports, on the robot and in the "
            "cloud alike. A problem refuses the episode, a warning does not."
        ),
        "kind",
        episode_rows(),
    )
    return {
        ROOT / "hosting/api/openapi.json": json.dumps(openapi(), indent=1) + "\n",
        ROOT / "hosting/docs/problems.html": page(*problems),
        ROOT / "hosting/docs/episode-codes.html": page(*episodes),
        ROOT / "docs/problems.md": markdown(*problems),
        ROOT / "docs/episode-codes.md": markdown(*episodes),
    }


def main() -> int:
    """Write the files, or with --check compare them; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")
    check = parser.parse_args().check
    stale = []
    for path, content in files().items():
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    if stale:
        print(("stale, run `make generate`: " if check else "renewed: ") + ", ".join(stale))
    else:
        print("generated files: up to date")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
