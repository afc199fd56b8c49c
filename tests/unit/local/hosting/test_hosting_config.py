"""A hosting section that would not do what it says is refused by file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from continuon_local.errors import ConfigurationError
from continuon_local.hosting.config import parse_hosting

FILE = Path("/project/firebase.json")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "hosting: Object missing required field `public`"),
        ({"public": "p", "i18n": {"root": "/x"}}, "hosting: Object contains unknown field `i18n`"),
        ([{"public": "a"}, {"public": "b"}], "hosting: the local cloud serves one site"),
        (
            {"public": "p", "rewrites": [{"source": "**"}]},
            "hosting.rewrites[0]: exactly one of destination, function and run",
        ),
        (
            {"public": "p", "rewrites": [{"source": "a", "regex": "b", "destination": "/"}]},
            "hosting.rewrites[0]: exactly one of source, glob and regex",
        ),
        (
            {"public": "p", "rewrites": [{"source": "**", "dynamicLinks": True}]},
            "hosting.rewrites[0]: Object contains unknown field `dynamicLinks`",
        ),
        (
            {"public": "p", "redirects": [{"source": "/a", "destination": "/b", "type": 200}]},
            "hosting.redirects[0].type",
        ),
        (
            {"public": "p", "headers": [{"regex": "(?=x)", "headers": []}]},
            "hosting.headers[0]: regex '(?=x)': RE2 has no lookaround",
        ),
        (
            {
                "public": "p",
                "headers": [{"source": "**", "headers": [{"key": "X", "value": "a\r\nb"}]}],
            },
            "hosting.headers[0].headers: 'X' cannot be sent as a header",
        ),
    ],
)
def test_a_wrong_section_is_refused_by_file_and_key(section: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_hosting(section, FILE)
    assert str(caught.value).startswith(f"{FILE}: {message}")


def test_a_function_is_named_in_either_form() -> None:
    config = parse_hosting(
        {
            "public": "p",
            "rewrites": [
                {"source": "/a", "function": "one", "region": "europe-west1"},
                {"source": "/b", "function": {"functionId": "two", "region": "us-central1"}},
            ],
        },
        FILE,
    )
    targets = [rewrite.function for rewrite in config.rewrites]
    assert [(t.function_id, t.region) for t in targets if t is not None] == [
        ("one", "europe-west1"),
        ("two", "us-central1"),
    ]
