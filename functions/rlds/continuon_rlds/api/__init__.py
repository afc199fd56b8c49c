"""The HTTP surface of episodes: one module a function, so that each imports only its own needs."""
