"""Every route is reachable: a rewrite, a function, a manifest entry, a place in the reference."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from conftest import REPOSITORY
from continuon_local.events.manifest import EventTrigger, HttpsTrigger
from continuon_local.project import load_project

if TYPE_CHECKING:
    from types import ModuleType

    from continuon_local.events.manifest import FunctionSpec

PROJECT = load_project(REPOSITORY)
HTTP_FUNCTIONS = [spec for spec in PROJECT.functions if isinstance(spec.trigger, HttpsTrigger)]
REWRITES = PROJECT.hosting.rewrites if PROJECT.hosting is not None else ()
REFERENCE = json.loads((REPOSITORY / "hosting/api/openapi.json").read_text(encoding="utf-8"))


def _main(spec: FunctionSpec) -> ModuleType:
    location = importlib.util.spec_from_file_location(
        f"main_of_{spec.codebase}", spec.source / "main.py"
    )
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    return module


async def _paths(spec: FunctionSpec) -> dict[str, Any]:
    """Return what the function's application serves: methods by path."""
    app = await getattr(_main(spec), spec.entry_point)(None)
    paths: dict[str, Any] = app.openapi()["paths"]
    return paths


def _sample(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "ep_1", path)


def _rewritten_to(path: str) -> tuple[str, str | None] | None:
    """Return function and region of the first rewrite that matches, as Hosting chooses."""
    for rewrite in REWRITES:
        if rewrite.pattern.match(path) is not None:
            target = rewrite.function
            return None if target is None else (target.function_id, target.region)
    return None


@pytest.mark.parametrize("spec", HTTP_FUNCTIONS, ids=lambda spec: spec.id)
async def test_every_route_of_a_function_is_rewritten_to_it(spec: FunctionSpec) -> None:
    paths = await _paths(spec)
    assert paths
    for path in paths:
        assert _rewritten_to(_sample(path)) == (spec.id, spec.region), path


@pytest.mark.parametrize("spec", HTTP_FUNCTIONS, ids=lambda spec: spec.id)
async def test_every_route_is_in_the_reference_with_its_methods(spec: FunctionSpec) -> None:
    for path, methods in (await _paths(spec)).items():
        assert set(methods) <= set(REFERENCE["paths"][path]), path


async def test_the_reference_has_no_route_that_nobody_serves() -> None:
    served = {path for spec in HTTP_FUNCTIONS for path in await _paths(spec)}
    assert set(REFERENCE["paths"]) == served


async def test_no_two_functions_serve_one_path() -> None:
    served = [path for spec in HTTP_FUNCTIONS for path in await _paths(spec)]
    assert len(served) == len(set(served))


async def test_no_static_file_hides_a_route() -> None:
    # Hosting serves a file before it looks at rewrites.
    for spec in HTTP_FUNCTIONS:
        for path in await _paths(spec):
            file = REPOSITORY / "hosting" / _sample(path).lstrip("/")
            assert not file.is_file(), path
            assert not file.with_suffix(".html").is_file(), path


def test_every_rewrite_names_a_function_that_takes_requests() -> None:
    known = {(spec.id, spec.region) for spec in HTTP_FUNCTIONS}
    targets = [r.function for r in REWRITES if r.function is not None]
    assert targets
    assert {(target.function_id, target.region) for target in targets} <= known


def test_every_function_that_takes_requests_has_a_rewrite() -> None:
    targets = {r.function.function_id for r in REWRITES if r.function is not None}
    assert {spec.id for spec in HTTP_FUNCTIONS} == targets


@pytest.mark.parametrize("spec", PROJECT.functions, ids=lambda spec: spec.id)
def test_every_manifest_entry_names_a_function_of_main(spec: FunctionSpec) -> None:
    assert spec.entry_point in _entry_points(spec)


@pytest.mark.parametrize("codebase", sorted({spec.codebase for spec in PROJECT.functions}))
def test_every_entry_point_of_main_is_in_the_manifest(codebase: str) -> None:
    specs = [spec for spec in PROJECT.functions if spec.codebase == codebase]
    assert {spec.entry_point for spec in specs} == set(_entry_points(specs[0]))


def _entry_points(spec: FunctionSpec) -> dict[str, str]:
    """Return the decorated functions of a codebase: their decorator by name."""
    tree = ast.parse((spec.source / "main.py").read_text(encoding="utf-8"))
    return {
        node.name: ast.unparse(node.decorator_list[0])
        for node in tree.body
        if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list
    }


@pytest.mark.parametrize("spec", PROJECT.functions, ids=lambda spec: spec.id)
def test_the_decorator_fits_the_trigger(spec: FunctionSpec) -> None:
    kind = "cloud_event" if isinstance(spec.trigger, EventTrigger) else "http"
    assert _entry_points(spec)[spec.entry_point] == f"functions_framework.aio.{kind}"


def test_buckets_and_topics_of_triggers_exist_locally() -> None:
    local = tomllib.loads((REPOSITORY / "continuon-local.toml").read_text(encoding="utf-8"))
    for spec in PROJECT.functions:
        if isinstance(spec.trigger, EventTrigger):
            bucket = spec.trigger.event_filters.get("bucket")
            assert bucket is None or bucket in local["buckets"]


def test_every_codebase_folder_is_deployed() -> None:
    folders = {path.parent.name for path in (REPOSITORY / "functions").glob("*/functions.yaml")}
    assert folders == {spec.codebase for spec in PROJECT.functions}
