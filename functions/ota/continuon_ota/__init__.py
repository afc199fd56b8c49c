"""Over the air: rollouts that stop themselves, and the answer to a robot's check."""
