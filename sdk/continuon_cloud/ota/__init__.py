"""Updates over the air: the robot's agent, which believes signed metadata and nothing else."""
