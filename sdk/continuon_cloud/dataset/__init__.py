"""Recorded episodes as training data: a stream of steps in bounded memory.

Start with :func:`load_episodes` (episodes on disk) or :func:`load_cloud_episodes` (episodes in the
cloud, downloaded once into a cache). Numbers come as tuples without NumPy, as arrays with it
(``pip install continuon-cloud[train]``).
"""

from continuon_cloud.dataset.catalogue import EpisodeEntry
from continuon_cloud.dataset.cloud import fetch_episodes, load_cloud_episodes
from continuon_cloud.dataset.errors import DatasetError
from continuon_cloud.dataset.loader import Batch, EpisodeDataset, Sample, load_episodes
from continuon_cloud.dataset.split import Split, episode_set_digest, split_of

__all__ = [
    "Batch",
    "DatasetError",
    "EpisodeDataset",
    "EpisodeEntry",
    "Sample",
    "Split",
    "episode_set_digest",
    "fetch_episodes",
    "load_cloud_episodes",
    "load_episodes",
    "split_of",
]
