"""HTTP and nothing else: one file an endpoint family, one for each thing that they share."""
