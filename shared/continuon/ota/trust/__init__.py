"""Who may say what a robot installs: the repository side of The Update Framework (TUF 1.0).

An offline root names all keys. The top-level targets role, offline too, delegates one role for each
robot model, whose publishers sign the bundles of that model and no other. Two online keys sign
snapshot and timestamp: whoever steals them can delay robots and cannot make them install anything.

Everything here turns bytes into bytes; signers are passed in, stores are read by a callable.
"""
