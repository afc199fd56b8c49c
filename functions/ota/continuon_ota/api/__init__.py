"""The HTTP surface: robots ask and report, operators publish and roll out."""
