"""One adapter per engine; each imports little, because the cold start measures its import too."""
