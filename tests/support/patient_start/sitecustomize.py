"""Run at the start of every Python process of a product in a test; see `tests.support.patience`."""

from sluice.admission import limits
from sluice.admission.challenges import challenges
from sluice.cache import server

limits.DEADLINE_S = challenges.DEADLINE_S = server.TIMEOUT_S = 5.0
server.TURN_S_MAX = 20.0
