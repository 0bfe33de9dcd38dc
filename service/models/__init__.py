"""Model folders and what is served from them: artifact, repository, registry."""
