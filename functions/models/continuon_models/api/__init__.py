"""HTTP routes of the models codebase."""
