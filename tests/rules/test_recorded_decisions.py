from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Recorded from Google's Firestore emulator 1.19.9: the documents, the requests, and for each
# ruleset the HTTP status of some of the requests, by number.
RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "decisions.json").read_text(encoding="utf-8")
)

# Google's evaluator takes a field that a query has no filter on for missing, and so allows
# queries that can return documents which the rule excludes. Here they are refused.
STRICTER = (
    "'secret' in resource.data",
    "resource.data.get('zz', 0) == 0",
    "resource.data.keys().hasOnly(",
)


class Replay:
    """The recorded requests against the local Firestore, by one user."""

    def __init__(self, project: Any, http: httpx.Client) -> None:
        self._project = project
        self._http = http
        self._root = f"projects/{project.id}/databases/(default)/documents"
        self._user = {"authorization": f"Bearer {project.token('alice', role='op')}"}

    def reset(self) -> None:
        """Bring the documents back to what they were when the answers were recorded."""
        self._http.delete(f"/emulator/v1/{self._root}").raise_for_status()
        for path, fields in self._filled(RECORDED["documents"]).items():
            self._http.patch(
                f"/v1/{self._root}/{path}",
                json={"fields": fields},
                headers={"authorization": "Bearer owner"},
            ).raise_for_status()

    def _filled(self, recorded: Any) -> Any:
        return json.loads(json.dumps(recorded).replace("PROJECT", self._project.id))

    def status(self, number: int) -> int:
        """Send one request and return the HTTP status."""
        request = self._filled(RECORDED["requests"][number])
        answer = self._http.request(
            request["method"],
            f"/v1/{self._root}{request['path']}",
            json=request.get("json"),
            headers=self._user if request.get("signed_in", True) else {},
        )
        if request["path"] == ":commit" and answer.status_code == 200:
            self.reset()
        return answer.status_code


@pytest.fixture
def replay(project: Any) -> Iterator[Replay]:
    base_url = f"http://{project.address}"
    with httpx.Client(base_url=base_url, timeout=10) as http:
        replay = Replay(project, http)
        replay.reset()
        yield replay


def test_every_recorded_decision_comes_out_as_google_decided(project: Any, replay: Replay) -> None:
    different = []
    count = 0
    for body, answers in RECORDED["answers"]:
        project.allow(body)
        for number, expected in answers.items():
            found = replay.status(int(number))
            stricter = found == 403 and any(part in body for part in STRICTER)
            if found != expected and not stricter:
                different.append((body, RECORDED["requests"][int(number)], expected, found))
            count += 1
    assert not different
    assert count > 700
