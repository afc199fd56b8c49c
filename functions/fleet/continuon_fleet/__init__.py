"""The fleet: who owns which robot, and what an account may use."""
