"""Pure. Istio intent turned into Envoy configuration; touches no machine."""
