"""The framework's lane: everything over HTTP that is not in the hot lane."""
