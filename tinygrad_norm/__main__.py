"""`python -m tinygrad_norm` is `tinygrad-norm`."""

import os
import sys

if __name__ == "__main__":
    first = sys.path[0] or os.curdir
    if not sys.flags.safe_path and os.path.isdir(first) and os.path.samefile(first, os.curdir):
        del sys.path[0]  # -m put the working folder there, from which commands are to import nothing

    from tinygrad_norm.cli import main

    sys.exit(main())
