"""Proofs of identity, checked without any I/O: device keys, request signatures, claims, RURIs."""
