"""Everything on one machine: the embedded stores, and the supervisor behind `sluice up`.

`up.py` tells the story. It runs before anything else does, so it stays light: no web framework,
no SQL toolkit and no Redis client is imported here.
"""
