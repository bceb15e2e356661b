"""What the benchmarks of the mesh share: a lab with sidecars, small programs in pods, and its API."""
