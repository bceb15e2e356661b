"""Make load with Locust, which always runs as a process of its own, and read its record."""
