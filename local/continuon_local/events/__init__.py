"""Events: recorded with the change that caused them, routed by manifest, at least once."""
