"""The cache server: what processes tell each other. Nothing that may not be lost is kept here."""
