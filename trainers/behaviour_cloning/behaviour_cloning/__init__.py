"""Reference trainer: a small policy from recorded proprioception to action, in NumPy.

Run it with ``python -m behaviour_cloning``, or call :func:`behaviour_cloning.run.train`; see
docs/trainers.md. To train another network, follow :class:`behaviour_cloning.network.Network`.

Nothing is imported here: ``__main__`` has to set the number of threads before NumPy is loaded.
"""
