"""HTTP: the hot lane, the framework's lane behind it, and what both share."""
