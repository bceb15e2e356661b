"""Simulated services, whose truth is known, for the tests of the statistics."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
