"""Where a password goes: the sign-in service that a site names must be on this machine."""

from __future__ import annotations

import pytest

from continuon_cloud.accounts import _on_this_machine
from continuon_cloud.errors import SettingsError


@pytest.mark.parametrize("host", ["127.0.0.1:9099", "localhost:9099", "[::1]:9099"])
def test_a_local_cloud_may_name_its_own_sign_in_service(host: str) -> None:
    assert _on_this_machine(host) == host


@pytest.mark.parametrize(
    "host",
    ["evil.example:80", "127.0.0.1@evil.example", "127.0.0.1.evil.example:9099", "10.0.0.1:9099"],
)
def test_a_site_cannot_have_the_password_sent_elsewhere(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _on_this_machine(host)
    assert caught.value.code == "settings.foreign_auth"
