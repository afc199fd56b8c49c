"""The hosting gateway: static files and rewrites as firebase.json says."""
