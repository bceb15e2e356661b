"""Programs of well-known images, as the lab runs them: what Kubernetes' network tests and everyday manifests call.

They run inside pods, as the pod's user, with the standard library alone; nothing else imports them. Names, flags,
output and exit codes are those of the originals, as far as they are here; what is not here is refused by name.
"""
