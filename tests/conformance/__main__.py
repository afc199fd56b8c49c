"""Compare our services with Google's emulators, or with their recorded answers.

Exit status 0 when everything agrees or differs in a known way, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conformance import compare, fuzz, report, suites, targets
from conformance.areas import AREAS
from conformance.driver import Answers, collect


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("--record", action="store_true", help="renew recorded answers and docs")
    parser.add_argument("--recorded", action="store_true", help="do not start the emulators")
    parser.add_argument("--no-suites", action="store_true", help="skip the clients' own tests")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--fuzz", type=int, metavar="SEED", help="random operations instead")
    parser.add_argument("--count", type=int, default=2000, help="how many random operations")
    parser.add_argument("areas", nargs="*", help="only these areas")
    options = parser.parse_args()
    references = "not asked for" if options.recorded else targets.find_references()
    if options.fuzz is not None:
        return _fuzz(references, options.fuzz, options.count)
    with targets.ours() as addresses:
        ours = collect(addresses, areas=options.areas, recorded_only=isinstance(references, str))
    theirs, reference = _reference(references, options.areas)
    rows = compare.compare(ours, theirs)
    results = [] if options.no_suites or options.areas else _suites(references)
    _print(report.table(rows, results))
    status = _explain(rows, ours, theirs) | _compare_suites(results)
    if options.json:
        options.json.write_text(report.as_json(rows, results, reference), encoding="utf-8")
    if options.record and isinstance(references, targets.References):
        compare.save(compare.load()["answers"] | theirs, reference)
        if not options.areas:
            report.write_documentation(rows, results, reference)
    return status


def _fuzz(references: targets.References | str, seed: int, count: int) -> int:
    if isinstance(references, str):
        _print(f"Google's emulators: {references}. Nothing to compare with.")
        return 0
    _print(f"{count} random operations of seed {seed}; reference: {references.version}")
    with targets.ours() as ours, targets.google_emulators(references) as theirs:
        found = list(fuzz.disagreements(ours.firestore, theirs.firestore, seed, count))
    for disagreement in found:
        _print(fuzz.report(*disagreement))
    _print(f"{len(found)} disagreements")
    return int(bool(found))


def _reference(references: targets.References | str, areas: list[str]) -> tuple[Answers, str]:
    if isinstance(references, targets.References):
        _print(f"Reference: {references.version}")
        with targets.google_emulators(references) as addresses:
            return collect(addresses, areas=areas), references.version
    recorded = compare.load()
    _print(f"Google's emulators: {references}.")
    _print(f"Replaying the recorded answers of {recorded['reference']} instead.")
    left_out = ", ".join(area.name for area in AREAS if not area.recorded)
    _print(f"Left out, because they need the emulators themselves: {left_out}.")
    return recorded["answers"], recorded["reference"]


def _suites(references: targets.References | str) -> list[suites.SuiteResult]:
    problem = suites.prepare()
    if problem is not None:
        _print(f"The clients' own system tests are left out: {problem}")
        return []
    with targets.ours() as addresses:
        results = [suites.firestore_suite("ours", addresses.firestore)]
    if isinstance(references, targets.References):
        with targets.google_emulators(references) as addresses:
            results.append(suites.firestore_suite("google", addresses.firestore))
    return [*results, suites.storage_suite()]


def _explain(rows: list[compare.Row], ours: Answers, theirs: Answers) -> int:
    for row in rows:
        for case in row.disagree:
            _print(f"\n{row.area} / {case}")
            _print(f"  ours:   {ours[row.area][case]!s:.500}")
            _print(f"  theirs: {theirs.get(row.area, {}).get(case)!s:.500}")
        for case in row.stale:
            _print(f"\n{row.area} / {case}: listed as a difference, and agrees")
    return int(any(row.disagree or row.stale for row in rows))


def _compare_suites(results: list[suites.SuiteResult]) -> int:
    by_target = {(result.name, result.target): result for result in results}
    google = by_target.get((suites.FIRESTORE, "google"))
    ours = by_target.get((suites.FIRESTORE, "ours"))
    for result in results:
        for test, message in result.failed.items():
            _print(f"{result.name} on {result.target}: {test}: {message:.160}")
    if google is None or ours is None:
        return 0
    worse = sorted(set(ours.failed) - set(google.failed))
    for test in worse:
        _print(f"passes on Google's emulator and fails here: {test}")
    return int(bool(worse))


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
