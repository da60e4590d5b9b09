"""Challenges: made ahead of time, bound to one buyer and one sale, answered once."""
