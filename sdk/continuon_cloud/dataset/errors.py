"""What can be wrong with episodes as training data."""

from __future__ import annotations

from continuon_cloud.errors import ClientError

__all__ = ["DatasetError"]


class DatasetError(ClientError):
    """Episodes cannot be used together, or one of them cannot be used at all.

    Codes: ``dataset.missing``, ``dataset.unreadable``, ``dataset.empty``,
    ``dataset.episode_invalid``, ``dataset.not_eligible``, ``dataset.duplicate_episode``,
    ``dataset.changed``, ``dataset.field_missing``, ``dataset.field_type``,
    ``dataset.field_empty``, ``dataset.width_mismatch``, ``dataset.not_finite``,
    ``dataset.options``, ``dataset.unverified``, ``dataset.numpy_missing``.
    """

    code = "dataset.invalid"
