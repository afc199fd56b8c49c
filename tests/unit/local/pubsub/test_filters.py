from __future__ import annotations

import pytest

from continuon_local.pubsub.errors import PubSubError
from continuon_local.pubsub.filters import compile_filter

ATTRIBUTES = {"lang": "en", "event-type": "robot.seen", "iana.org/tag": 'say "hi"'}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("   ", True),
        ("attributes:lang", True),
        ("attributes:missing", False),
        ('attributes.lang = "en"', True),
        ('attributes.lang="EN"', False),
        ('attributes.lang != "de"', True),
        ('attributes.missing != "de"', True),
        ('attributes.event-type = "robot.seen"', True),
        ('attributes."iana.org/tag" = "say \\"hi\\""', True),
        ('attributes:"iana.org/tag"', True),
        ('hasPrefix(attributes.event-type, "robot.")', True),
        ('hasPrefix(attributes.missing, "")', False),
        ('NOT attributes.lang = "en"', False),
        ("-attributes:missing", True),
        ("NOT NOT attributes:lang", True),
        ('attributes:lang AND attributes.lang != "de" AND attributes:event-type', True),
        ("attributes:missing OR attributes:lang", True),
        ("attributes:missing OR (attributes:lang AND attributes:missing)", False),
        ("NOT (attributes:missing OR attributes:lang)", False),
        ('attributes.lang = "\\x65\\156"', True),
        ("attributes:NOT", False),
        ("attributes:AND", False),
        ("((attributes:lang))", True),
    ],
)
def test_a_filter_matches_as_documented(text: str, *, matches: bool) -> None:
    assert compile_filter(text)(ATTRIBUTES) is matches


@pytest.mark.parametrize(
    "text",
    [
        "attributes",
        "attributes.lang = en",
        "attributes.lang == 'en'",
        "attributes:a AND attributes:b OR attributes:c",
        'attributes.lang = "en',
        'hasPrefix(attributes.lang "e")',
        'data = "x"',
        "()",
        "NOT",
        'attributes.lang = "\\x"',
        'attributes.lang = "\\ud800"',
        'attributes.lang = "\\d"',
        "attributes:lang AND",
        '("' * 50,
        'attributes.lang = "' + "x" * 300 + '"',
    ],
)
def test_what_is_no_filter_is_an_invalid_argument(text: str) -> None:
    with pytest.raises(PubSubError) as refusal:
        compile_filter(text)
    assert refusal.value.code.name == "INVALID_ARGUMENT"
