"""``python -m mcgen`` is the command ``mcgen``."""

import sys

from mcgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
