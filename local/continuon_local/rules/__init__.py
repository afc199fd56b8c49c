"""Firebase security rules: parse a ruleset, decide requests. Pure: no I/O of its own."""

from continuon_local.rules.access import AccessBudget, DocumentReader, resource_value
from continuon_local.rules.errors import EvaluationError, RulesError
from continuon_local.rules.ruleset import ABSENT, Ruleset, RulesRequest
from continuon_local.rules.trace import Decision, TraceEntry

__all__ = [
    "ABSENT",
    "AccessBudget",
    "Decision",
    "DocumentReader",
    "EvaluationError",
    "RulesError",
    "RulesRequest",
    "Ruleset",
    "TraceEntry",
    "resource_value",
]
