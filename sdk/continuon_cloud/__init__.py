"""Robot and notebook client of Continuon Cloud.

Start with :class:`ContinuonClient` (calls), :class:`RobotHome` (a robot's key) and
:class:`~continuon_cloud.queue.UploadQueue` (uploads that survive power loss).
"""

from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import ApiProblem, ClientError, UnreachableError
from continuon_cloud.identity import RobotHome, RobotIdentity
from continuon_cloud.settings import Settings
from continuon_cloud.version import __version__

__all__ = [
    "ApiProblem",
    "ClientError",
    "ContinuonClient",
    "RobotHome",
    "RobotIdentity",
    "Settings",
    "UnreachableError",
    "__version__",
]
