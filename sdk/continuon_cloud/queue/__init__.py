"""The upload queue: episodes survive power loss on their way to the cloud."""

from continuon_cloud.queue.records import Added, Packaging, QueueItem, State
from continuon_cloud.queue.runner import Observer, RunOptions
from continuon_cloud.queue.uploads import UploadQueue

__all__ = ["Added", "Observer", "Packaging", "QueueItem", "RunOptions", "State", "UploadQueue"]
