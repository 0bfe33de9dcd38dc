"""The offline part: trains Relevance Factor VAEs (arXiv 1902.01568) and says which factors vary."""
