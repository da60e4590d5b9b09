"""Every key and channel of the cache server: its name, its type, who writes it, how long it lives.

| key | type | holds | written by | lives |
|---|---|---|---|---|
| `sluice:catalog` | channel | the id of a sale that has changed | operator | — |
| `sluice:live` | channel | news (`cache.news`); empty: some may be missing | herald | — |
| `sluice:live:herald` | string | who is the herald | herald | 5 s |
| `sluice:live:present` | string | that somebody is connected to some process | web | 15 s |
| `sluice:live:position` | string | up to which message of the outbox it has told | herald | 1 h |
| `sluice:rates:<second>` | hash | outcome → how many in that second, all told | web | 60 s |
| `sluice:limit:<counter>` | string | a limit's counter, packed (limits.lua) | web | its window |
| `sluice:blacklist` | sorted set | who → until when, Unix ms | web | members till then |
| `sluice:blacklist:why` | hash | who → why and since when, as JSON | web | as above |
| `sluice:blacklisted` | channel | a change: who, and until when | web | — |
| `sluice:pool:<kind>` | list | challenges made ahead of time, packed | work | until used, 7 d |
| `sluice:spent:<nonce>` | string | nothing: a challenge was answered | web | as the challenge |
| `sluice:session:<hash of token>` | string | one session, packed | web | while it is used |
| `sluice:sessions:<account>` | hash | a session's id → token's hash, address, label | web | 90 d |
| `sluice:revoked` | channel | the hash of a token that counts no more | web | — |
| `sluice:code:<hash>` | hash | `mac` of a log-in code, how many `tries` it had | web | 10 min |
| `sluice:tally:<sale>:<second>` | hash | what happened → how often; `n`: in all | web | 15 min |
| `sluice:tally:new` | sorted set | cells that no worker has stored → second | web, work | 15 min |
| `sluice:watched` | sorted set | sale → when somebody last looked at it live | web | 60 s |
| `sluice:audited:<sale>` | string | the sale's last audit, as JSON | work | 1 h |
| `sluice:workers` | hash | worker's name → what it says of itself, as JSON | work | 1 h each |
| `sluice:inbox` | list | latest codes sent, as JSON, where no hook delivers them | web | 10 min |
| `sluice:stranger` | string | an address that forwards and is not trusted | web | 1 d |
| `sluice:pressure` | hash | process → how loaded it is, and since when | web | 3 s |
| `sluice:room:pacer` | string | who paces all waiting rooms | pacer | 3 s |
| `sluice:rooms` | set | sales that have a waiting room on this server | web | while they have |
| `sluice:rooms:engaged` | set | sales whose room the load asks for | pacer | 10 s |
| `sluice:room:<sale>` | hash | a room's numbers: `seed`, `last` … (room.lua) | both | below |
| `sluice:room:<sale>:line` | sorted set | who waits → their place | both | below |
| `sluice:room:<sale>:turn` | hash | whose turn it is, or was → what is known of it | both | below |
| `sluice:room:<sale>:active` | sorted set | whose turn it is → until when, ms | both | below |
| `sluice:room:<sale>:away` | sorted set | whose turn was → when that is forgotten | both | below |

A room stays until an hour after its sale has ended. Before that it has no time to live, so that a
server which is full does not evict a line.
"""

from __future__ import annotations

CATALOG = "sluice:catalog"
LIVE = "sluice:live"
PRESENT = "sluice:live:present"
PRESENT_EXPIRE_S = 15
HERALD = "sluice:live:herald"
HERALD_LEASE_MS = 5000
HERALD_POSITION = "sluice:live:position"
HERALD_POSITION_EXPIRE_S = 3600
RATES_EXPIRE_S = 60
PACER = "sluice:room:pacer"
PACER_LEASE_MS = 3000
ROOMS = "sluice:rooms"
ENGAGED = "sluice:rooms:engaged"
ENGAGED_EXPIRE_S = 10
ROOM_KEPT_S = 3600
"""After a sale's end its room stays for so long, so that whoever still asks is told."""
POOL_EXPIRE_S = 7 * 86_400
"""What no sale asks for any more is not kept for ever."""
BLACKLIST = "sluice:blacklist"
BLACKLIST_WHY = "sluice:blacklist:why"
BLACKLISTED = "sluice:blacklisted"
REVOKED = "sluice:revoked"
TALLY_NEW = "sluice:tally:new"
TALLY_EXPIRE_S = 900
"""For so long the workers may all be away before what happened in a second is forgotten."""
WATCHED = "sluice:watched"
AUDITED_EXPIRE_S = 3600
INBOX = "sluice:inbox"
STRANGER = "sluice:stranger"
STRANGER_EXPIRE_S = 86_400
PRESSURE = "sluice:pressure"
WORKERS = "sluice:workers"
_LIMIT = b"sluice:limit:"


def rates(second: int) -> str:
    """`second`: Unix seconds by the cache server's own clock."""
    return f"sluice:rates:{second}"


def limit(counter: bytes) -> bytes:
    return _LIMIT + counter


def pool(kind: str) -> str:
    return f"sluice:pool:{kind}"


def spent(nonce: bytes) -> str:
    return f"sluice:spent:{nonce.hex()}"


def session(digest: bytes) -> bytes:
    """`digest`: of the session's token."""
    return b"sluice:session:" + digest.hex().encode()


def sessions(account_id: int) -> str:
    return f"sluice:sessions:{account_id}"


def code(name: str) -> str:
    return f"sluice:code:{name}"


def tally(sale_id: int, second: int) -> str:
    """`second`: Unix seconds by the cache server's own clock."""
    return f"sluice:tally:{sale_id}:{second}"


def parse_tally(name: bytes) -> tuple[int, int]:
    """The sale and the second of a cell's name."""
    _, _, sale_id, second = name.decode().split(":")
    return int(sale_id), int(second)


def audited(sale_id: int) -> str:
    return f"sluice:audited:{sale_id}"


def room(sale_id: int) -> list[str]:
    """A waiting room's keys, in the order in which its scripts take them."""
    name = f"sluice:room:{sale_id}"
    return [name, f"{name}:line", f"{name}:turn", f"{name}:active", f"{name}:away"]
