"""Callbacks out: telling a user's own service that a job has ended."""
