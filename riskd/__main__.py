"""`python -m riskd`: the command line, for when the `riskd` console script is not on the PATH."""

from __future__ import annotations

import sys

from riskd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
