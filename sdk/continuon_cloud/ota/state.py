"""What the agent remembers through a power cut: an SQLite file, one transaction a change.

The committed bundle in here is the truth; where ``current`` points is derived from it. A report is
queued in the transaction of the change that it reports, so neither is ever there without the other.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.faults import FaultPoint, reach
from continuon_cloud.ota.records import Installed, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from continuon.contracts.ota import ReportError, ReportPhase

__all__ = ["AgentState", "report_of"]

MAX_QUEUED_REPORTS: Final = 200
"""Reports that wait for a connection: a month of a bundle a day with six reports each."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS commits (
    number INTEGER PRIMARY KEY AUTOINCREMENT, slot TEXT NOT NULL, bundle_id TEXT NOT NULL,
    version TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reports (sequence INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS floors (role TEXT PRIMARY KEY, keys TEXT NOT NULL, version INTEGER);
"""


class AgentState:
    """One robot's update state. Use it as a context manager; one process at a time."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open or make the file; not ``durable`` survives a killed process, not a power cut.

        Raises:
            UpdateError: It is damaged.
        """
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            # FULL: a commit that returned is on the disk. WAL: with one flush, not with four.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise UpdateError(
                f"{path} is damaged",
                code="ota.state_damaged",
                hint="Move it away; what is installed stays, and is installed anew on the next "
                "offer.",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _change(self) -> Iterator[None]:
        reach(FaultPoint.STATE_CHANGING)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        reach(FaultPoint.STATE_CHANGED)

    # --- Bundles --------------------------------------------------------------------------------

    def committed(self) -> Installed | None:
        """Return the bundle that has proven itself last."""
        return self._commit_before(0)

    def previous(self) -> Installed | None:
        """Return the one that had proven itself before it."""
        return self._commit_before(1)

    def versions(self) -> list[str]:
        """Return every version that has ever proven itself here."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT version FROM commits")]

    def _commit_before(self, steps: int) -> Installed | None:
        row = self._db.execute(
            "SELECT slot, bundle_id, version, sha256 FROM commits "
            "ORDER BY number DESC LIMIT 1 OFFSET ?",
            (steps,),
        ).fetchone()
        return Installed(*row) if row else None

    def trial(self) -> Trial | None:
        """Return the bundle that is being tried, if one is."""
        found = self._fact("trial")
        if found is None:
            return None
        return Trial(Installed(**found["installed"]))

    def begin_trial(self, trial: Trial, report: dict[str, Any]) -> None:
        """Remember that ``trial`` is about to run."""
        with self._change():
            self._set("trial", asdict(trial))
            self._queue(report)

    def commit_trial(self, trial: Trial, report: dict[str, Any]) -> None:
        """The bundle has proven itself."""
        one = trial.installed
        with self._change():
            self._db.execute("DELETE FROM facts WHERE name IN ('trial', 'interruptions')")
            self._db.execute(
                "INSERT INTO commits (slot, bundle_id, version, sha256) VALUES (?, ?, ?, ?)",
                (one.slot, one.bundle_id, one.version, one.sha256),
            )
            self._queue(report)

    def end_trial(self, report: dict[str, Any]) -> None:
        """The bundle has not proven itself; what was committed before stays."""
        with self._change():
            self._db.execute("DELETE FROM facts WHERE name IN ('trial', 'interruptions')")
            self._queue(report)

    def interrupt_trial(self) -> int:
        """A power cut fell into the trial: end it, and return how often that happened to it."""
        trial = self._fact("trial")
        count = 1
        before = self._fact("interruptions")
        if trial and before and before["bundle_id"] == trial["installed"]["bundle_id"]:
            count += before["count"]
        with self._change():
            self._db.execute("DELETE FROM facts WHERE name = 'trial'")
            if trial:
                fact = {"bundle_id": trial["installed"]["bundle_id"], "count": count}
                self._set("interruptions", fact)
        return count

    # --- Reports --------------------------------------------------------------------------------

    def queue_report(self, report: dict[str, Any]) -> None:
        """Queue a report that goes with no other change."""
        with self._change():
            self._queue(report)

    def reports(self) -> list[tuple[int, dict[str, Any]]]:
        """Return what waits to be sent, oldest first."""
        rows = self._db.execute("SELECT sequence, body FROM reports ORDER BY sequence")
        return [(sequence, json.loads(body)) for sequence, body in rows]

    def report_settled(self, sequence: int) -> None:
        """Forget a report that was answered."""
        with self._change():
            self._db.execute("DELETE FROM reports WHERE sequence = ?", (sequence,))

    def sequence_known(self, sequence: int) -> None:
        """The cloud knows a higher sequence than this file: number what waits anew, behind it."""
        waiting = self.reports()
        with self._change():
            self._set("sequence", max(sequence, int(self._fact("sequence") or 0)))
            self._db.execute("DELETE FROM reports")
            for _, report in waiting:
                self._queue(report)

    def _queue(self, report: dict[str, Any]) -> None:
        # Unix milliseconds as a floor: a robot that lost this file does not begin at 1 again, which
        # the cloud would take for old news.
        last = int(self._fact("sequence") or 0)
        sequence = max(last + 1, int(datetime.now(UTC).timestamp() * 1000))
        self._set("sequence", sequence)
        body = json.dumps({**report, "sequence": sequence})
        self._db.execute("INSERT INTO reports VALUES (?, ?)", (sequence, body))
        self._db.execute(
            "DELETE FROM reports WHERE sequence NOT IN "
            "(SELECT sequence FROM reports ORDER BY sequence DESC LIMIT ?)",
            (MAX_QUEUED_REPORTS,),
        )

    # --- Trust ----------------------------------------------------------------------------------

    def floor(self, role: str) -> tuple[str, int] | None:
        """Return the digest of a role's keys and the highest version seen under them."""
        row = self._db.execute(
            "SELECT keys, version FROM floors WHERE role = ?", (role,)
        ).fetchone()
        return (row[0], row[1]) if row else None

    def raise_floors(self, floors: dict[str, tuple[str, int]]) -> None:
        """Remember what was verified, so that nothing older is accepted under the same keys."""
        changed = {role: value for role, value in floors.items() if self.floor(role) != value}
        if not changed:
            return
        with self._change():
            self._db.executemany(
                "INSERT OR REPLACE INTO floors VALUES (?, ?, ?)",
                [(role, keys, version) for role, (keys, version) in changed.items()],
            )

    def forget_floors(self) -> None:
        """Forget what was verified: another root of trust begins anew."""
        with self._change():
            self._db.execute("DELETE FROM floors")

    # --- Small facts ----------------------------------------------------------------------------

    def last_task(self) -> Any:
        """Return the task totals that were reported last."""
        return self._fact("task")

    def task_reported(self, task: dict[str, Any], report: dict[str, Any]) -> None:
        """Queue a report of task totals."""
        with self._change():
            self._set("task", task)
            self._queue(report)

    def _fact(self, name: str) -> Any:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def _set(self, name: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))


def report_of(
    bundle_id: str,
    phase: ReportPhase,
    running: str | None,
    error: ReportError | None = None,
    task: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Return a report without its sequence number.

    Args:
        bundle_id: What it is about.
        phase: How far it is.
        running: Version that runs now, or None.
        error: Why it failed.
        task: Successes and trials since it was installed.
    """
    body: dict[str, Any] = {"bundle_id": bundle_id, "phase": phase.value}
    if running is not None:
        body["version"] = running
    if error is not None:
        body["error"] = error.model_dump(mode="json")
    if task is not None:
        body["task"] = task
    return body
