"""HTTP in front of the objects: routes, bodies, answers, watches and streams. Decides nothing about manifests."""
