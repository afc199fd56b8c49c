"""``python -m behaviour_cloning``."""

import os
import sys

# Sums over several threads are rounded in another order from machine to machine; a network of this
# size is not faster with them. Read when NumPy is loaded, so it is set before any other import.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from behaviour_cloning.cli import main  # noqa: E402 - see above

if __name__ == "__main__":
    sys.exit(main())
