"""`python -m meshverdict`."""

import sys

from meshverdict.cli import main

sys.exit(main())
