"""The JAX network, where JAX is installed: the same numbers, and the same bytes after a stop."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np
import pytest

from behaviour_cloning.config import Config
from behaviour_cloning.network import Mlp
from behaviour_cloning.run import Hooks, train
from trainer_episodes import write_episodes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="JAX is not installed: pip install continuon-behaviour-cloning[jax]",
)
NETWORK = "behaviour_cloning.jax_network:JaxMlp"
CONFIG = Config(max_steps=20, hidden=(4,), batch_steps=8, checkpoint_every=4, evaluate_every=10)


@pytest.mark.parametrize("hidden", [(), (5,), (7, 4)])
def test_losses_and_gradients_are_those_of_the_written_ones(hidden: tuple[int, ...]) -> None:
    from behaviour_cloning.jax_network import JaxMlp  # noqa: PLC0415 - only where it is installed

    written = Mlp(3, 2, hidden=hidden, rng=np.random.default_rng(1))
    left_to_jax = JaxMlp(3, 2, hidden=hidden, rng=np.random.default_rng(1))
    rng = np.random.default_rng(2)
    observations, actions = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))

    loss, gradients = left_to_jax.loss_and_gradients(observations, actions)
    wanted_loss, wanted = written.loss_and_gradients(observations, actions)

    assert loss == pytest.approx(wanted_loss, rel=1e-12)
    assert {value.dtype for value in gradients.values()} == {np.dtype(np.float64)}
    for name, value in wanted.items():
        np.testing.assert_allclose(gradients[name], value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        left_to_jax.forward(observations), written.forward(observations), rtol=1e-12
    )


def test_a_stopped_run_that_goes_on_ends_in_the_same_bytes(tmp_path: Path) -> None:
    from behaviour_cloning.jax_network import JaxMlp  # noqa: PLC0415 - only where it is installed

    data = write_episodes(tmp_path / "data", 12, steps=10)

    def stop(step: int, _loss: float) -> None:
        if step == 14:
            raise KeyboardInterrupt

    def run(out: str, hooks: Hooks | None = None, *, resume: bool = False) -> bytes:
        train(
            [data],
            tmp_path / out,
            config=CONFIG,
            factory=JaxMlp,
            network_name=NETWORK,
            resume=resume,
            hooks=hooks,
        )
        return (tmp_path / out / "model.npz").read_bytes()

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("cut", Hooks(on_step=stop))

    assert run("cut", resume=True) == whole
