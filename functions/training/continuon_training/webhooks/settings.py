"""Settings of callbacks."""

from __future__ import annotations

from functools import cache

from continuon.platform.settings import PlatformSettings

__all__ = ["WebhookSettings", "settings"]


class WebhookSettings(PlatformSettings):
    """Who may be called besides the open internet.

    Attributes:
        continuon_webhook_allowed_hosts: Host names and addresses, separated by commas, that may be
            private and without TLS: receivers on a laptop, or of the operator's own network.
            Link-local addresses stay refused.
    """

    continuon_webhook_allowed_hosts: str = ""

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The hosts, in lower case."""
        names = self.continuon_webhook_allowed_hosts.lower().split(",")
        return frozenset(name.strip() for name in names if name.strip())


@cache
def settings() -> WebhookSettings:
    """Return this process's settings, read at first use and not at import."""
    return WebhookSettings()
