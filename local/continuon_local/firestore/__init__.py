"""Firestore over gRPC, on SQLite."""
