"""Pub/Sub over gRPC, on SQLite."""
