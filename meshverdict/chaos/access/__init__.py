"""Who may run experiments on a cluster, and with which rights: manifests for an administrator to apply."""
