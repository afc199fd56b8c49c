"""What can stop a training run on purpose."""

from __future__ import annotations

from continuon.errors import ContinuonError


class TrainerError(ContinuonError):
    """The run cannot start or go on.

    Codes: ``trainer.config_invalid``, ``trainer.network_invalid``,
    ``trainer.too_few_episodes``, ``trainer.no_steps``, ``trainer.diverged``,
    ``trainer.output_exists``, ``trainer.output_unwritable``, ``trainer.checkpoint_missing``,
    ``trainer.checkpoint_invalid``, ``trainer.checkpoint_mismatch``, ``trainer.model_base``,
    ``trainer.model_base_invalid``, ``trainer.model_base_mismatch``.

    Attributes:
        code: Stable, dotted, lower case.
        hint: What a person can do about it; may be empty.
    """

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
