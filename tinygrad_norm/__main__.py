"""`python -m tinygrad_norm` is `tinygrad-norm`."""

import sys

from tinygrad_norm.cli import main

if __name__ == "__main__":
    sys.exit(main())
