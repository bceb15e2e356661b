"""The global rate limit service: a program of its own that runs in a pod, as ``envoyproxy/ratelimit`` does elsewhere.

A local limit is counted by each sidecar for itself; a global one is counted here, for all of them. Reads the same
configuration and speaks the same protocol (Envoy's ``RateLimitService``) as the original, without its Redis: counts are
in memory, so there is one replica. Imports nothing of the other rooms but ``model``.
"""
