"""Pure. Records turned into numbers, and numbers into one of four verdicts."""
