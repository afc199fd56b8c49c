"""The requests, responses and documents that cross a boundary, as pydantic models."""
