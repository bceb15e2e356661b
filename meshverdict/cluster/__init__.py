"""The embedded Kubernetes API: the part that remembers and decides. Starts no process."""
