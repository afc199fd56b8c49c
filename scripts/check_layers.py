"""Check that inside each codebase imports point one way.

main -> api -> service -> shared core, and main -> store -> shared.platform. Decisions (`service`,
`layout`) must not reach a store or a framework: that is what keeps them testable without one.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_PURE = ("google", "fastapi", "starlette", "functions_framework", ".store", ".api")

FORBIDDEN = {
    "service": ("google", "fastapi", "starlette", "functions_framework", ".store", ".api"),
    "layout": ("google", "fastapi", "starlette", "functions_framework", ".store", ".api"),
    "records": ("google", "fastapi", "starlette", "functions_framework", ".store", ".api"),
    "errors": ("google", "fastapi", "starlette", "functions_framework", ".store", ".api"),
    **dict.fromkeys(("callbacks", "creation", "money", "selection", "supervision"), _PURE),
    **dict.fromkeys(("cohorts", "deployments", "gates", "policy", "windows"), _PURE),
    "store": ("fastapi", "starlette", "functions_framework", ".api"),
    "ingest": ("fastapi", "starlette", "functions_framework", ".api"),
    "uploads": ("fastapi", "starlette", "functions_framework", ".api"),
    "aliases": ("fastapi", "starlette", "functions_framework", ".api"),
    "completion": ("fastapi", "starlette", "functions_framework", ".api"),
    "rollout": ("fastapi", "starlette", "functions_framework", ".api"),
    "counts": ("fastapi", "starlette", "functions_framework", ".api"),
    "deployment_store": ("fastapi", "starlette", "functions_framework", ".api"),
    "registration": ("fastapi", "starlette", "functions_framework", ".api"),
}
"""By module name: what it may not import. A leading dot means a module of its own codebase."""


def imported(path: Path) -> set[str]:
    """Return the modules that ``path`` imports at run time, fully dotted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(child for statement in node.body for child in ast.walk(statement))
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def violations() -> list[str]:
    """Return one line for each import that points the wrong way, or is not by package path."""
    found: list[str] = []
    for main in sorted(ROOT.glob("functions/*/main.py")):
        package = next(main.parent.glob("continuon_*"))
        own = {path.stem for path in package.glob("*.py")}
        for path in sorted([main, *package.rglob("*.py")]):
            relative = path.relative_to(ROOT)
            is_api = path.parent.name == "api"
            for name in imported(path):
                if name.split(".")[0] in own:
                    found.append(f"{relative}: `{name}` must be reached as {package.name}.{name}")
                rules = () if is_api else FORBIDDEN.get(path.stem, ())
                for rule in rules:
                    prefix = package.name + rule if rule.startswith(".") else rule
                    if name == prefix or name.startswith(prefix + "."):
                        found.append(f"{relative}: must not import {name}")
    return found


if __name__ == "__main__":
    lines = violations()
    print("\n".join(lines) or "layers: every import points the right way")
    sys.exit(1 if lines else 0)
