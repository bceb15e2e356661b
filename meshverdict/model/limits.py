"""What the kernel allows a process."""

from __future__ import annotations


def raise_file_limit(wanted: int) -> int:
    """Allow this process *wanted* open files, or as many as it may have; answers how many."""
    import resource  # noqa: PLC0415 - not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
