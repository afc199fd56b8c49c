"""Robot and notebook client of Continuon Cloud.

Start with :class:`ContinuonClient` (calls), :class:`RobotHome` (a robot's key),
:class:`~continuon_cloud.queue.UploadQueue` (uploads that survive power loss) and
:func:`load_episodes` (recorded episodes as training data).
"""

from typing import TYPE_CHECKING, Any

from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import ApiProblem, ClientError, UnreachableError
from continuon_cloud.identity import RobotHome, RobotIdentity
from continuon_cloud.settings import Settings
from continuon_cloud.version import __version__

if TYPE_CHECKING:
    from continuon_cloud.dataset import load_cloud_episodes, load_episodes

__all__ = [
    "ApiProblem",
    "ClientError",
    "ContinuonClient",
    "RobotHome",
    "RobotIdentity",
    "Settings",
    "UnreachableError",
    "__version__",
    "load_cloud_episodes",
    "load_episodes",
]


def __getattr__(name: str) -> Any:
    # On first use: the command starts faster without the validator.
    if name in {"load_cloud_episodes", "load_episodes"}:
        from continuon_cloud import dataset  # noqa: PLC0415

        return getattr(dataset, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
