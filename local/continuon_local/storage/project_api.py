"""The JSON API's methods on projects: HMAC keys, and the service's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from continuon_local.meter import Operation
from continuon_local.storage.call import decode_segment
from continuon_local.storage.errors import StorageError, invalid, not_implemented
from continuon_local.storage.records import project_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from continuon_local.storage.call import Call

__all__ = ["handle"]


async def handle(call: Call, project: str, rest: Sequence[str]) -> Response:
    """Answer a call below ``/projects/PROJECT``; ``rest`` is raw.

    Raises:
        StorageError: The request is refused.
    """
    match call.method, [decode_segment(part) for part in rest]:
        case "GET", ["serviceAccount"]:
            name = f"service-{project_number(project)}"
            email = f"{name}@gs-project-accounts.iam.gserviceaccount.com"
            return JSONResponse({"kind": "storage#serviceAccount", "email_address": email})
        case _, ["hmacKeys", *key]:
            return await _hmac_keys(call, project, key)
        case _:
            raise not_implemented(f"{call.method} {call.raw_path}")


async def _hmac_keys(call: Call, project: str, rest: Sequence[str]) -> Response:
    keys = call.engine.hmac_keys
    email = call.parameters.get("serviceAccountEmail")
    match call.method, list(rest):
        case "POST", []:
            metadata, secret = keys.create(project, email or "")
            call.count(Operation.STORAGE_CLASS_A)
            answer = {"kind": "storage#hmacKey", "secret": secret, "metadata": metadata}
            return JSONResponse(answer)
        case "GET", []:
            call.count(Operation.STORAGE_CLASS_A)
            deleted = call.flag("showDeletedKeys")
            items = keys.list(project, email, deleted=deleted)
            return JSONResponse({"kind": "storage#hmacKeysMetadata", "items": items})
        case "GET", [access_id]:
            call.count(Operation.STORAGE_CLASS_B)
            return JSONResponse(keys.get(project, access_id))
        case "PUT", [access_id]:
            body = await call.json()
            state = str(body.get("state"))
            if state not in {"ACTIVE", "INACTIVE"}:
                raise invalid(f"Invalid HMAC key state: {state}")
            tag = body.get("etag")
            call.count(Operation.STORAGE_CLASS_A)
            changed = keys.set_state(project, access_id, state, None if tag is None else str(tag))
            return JSONResponse(changed)
        case "DELETE", [access_id]:
            keys.set_state(project, access_id, "DELETED")
            return Response(status_code=204)
        case _:
            raise StorageError(404, "notFound", "NotFound", "Not Found")
