"""Pure. Kubernetes network intent turned into packet rules; touches no machine."""
