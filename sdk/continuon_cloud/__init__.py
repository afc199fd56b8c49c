"""Robot and notebook client of Continuon Cloud.

Start with :class:`ContinuonClient` (calls), :class:`RobotHome` (a robot's key),
:class:`~continuon_cloud.queue.UploadQueue` (uploads that survive power loss),
:func:`load_episodes` (recorded episodes as training data), :func:`register_model` and
:func:`download_model` (what was made of them), and :func:`verify_webhook` (callbacks of jobs).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import ApiProblem, ClientError, UnreachableError
from continuon_cloud.identity import RobotHome, RobotIdentity
from continuon_cloud.settings import Settings
from continuon_cloud.version import __version__

if TYPE_CHECKING:
    from continuon_cloud.dataset import load_cloud_episodes, load_episodes
    from continuon_cloud.models import download_model, register_model
    from continuon_cloud.webhooks import WebhookError, verify_webhook

__all__ = [
    "ApiProblem",
    "ClientError",
    "ContinuonClient",
    "RobotHome",
    "RobotIdentity",
    "Settings",
    "UnreachableError",
    "WebhookError",
    "__version__",
    "download_model",
    "load_cloud_episodes",
    "load_episodes",
    "register_model",
    "verify_webhook",
]

_ON_FIRST_USE = {
    "WebhookError": "continuon_cloud.webhooks",
    "download_model": "continuon_cloud.models",
    "load_cloud_episodes": "continuon_cloud.dataset",
    "load_episodes": "continuon_cloud.dataset",
    "register_model": "continuon_cloud.models",
    "verify_webhook": "continuon_cloud.webhooks",
}
"""The command starts faster without the validator and what else it may not need."""


def __getattr__(name: str) -> Any:
    if module := _ON_FIRST_USE.get(name):
        return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
