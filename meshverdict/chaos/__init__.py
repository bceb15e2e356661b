"""The Chaos Toolkit extension: thin controls, actions and probes for any cluster."""
