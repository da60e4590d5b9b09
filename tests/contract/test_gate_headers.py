"""The head of each Lua function is its contract: what callers send, and what they get."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

import pytest
from tests.contract.gate_servers import Server
from tests.contract.gate_stage import Stage, attempt, waiter

from sluice.accounts.identity import buyer_digest
from sluice.gate import library, wire
from sluice.gate.gate import EditOutcome, EditResult, Gate, GateStatus

KEY = re.compile(r"sluice:\{(\d+)\}:(shard|stream|item|attempts|holders|line)(?::(\d+))?")
WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Header(NamedTuple):
    """What stands above a function, taken apart."""

    says: str
    keys: list[str]
    each: list[str]
    """Keys that follow for each of several things."""
    args: list[str]
    more_args: str
    """What follows the fixed arguments, or nothing."""
    returns: str

    def key_kinds(self, count: int) -> list[str]:
        """The kinds of a call's `count` keys; raises where there is no such call."""
        kinds = list(self.keys)
        while self.each and len(kinds) < count:
            kinds += self.each
        assert len(kinds) == count, f"{count} keys do not fit {self.keys} and {self.each}"
        return kinds


class Call(NamedTuple):
    function: str
    keys: list[str]
    args: list[Any]
    reply: Any


def headers() -> dict[str, Header]:
    """Function name → its header, for every function that the library registers."""
    text = library.source()
    registered = re.findall(r"register_function\W+(?:function_name = )?'(sluice_\w+_v\d+)'", text)
    assert len(registered) == text.count("register_function")
    found = {}
    for name in registered:
        short = re.fullmatch(r"sluice_(\w+)_v\d+", name)
        assert short
        block = re.search(rf"(?m)^-- {short[1]}: (?:.*\n--)*.*\n", text)
        assert block, f"{name} has no header"
        found[name] = parse(block[0])
    return found


def parse(block: str) -> Header:
    lines = [line.removeprefix("--") for line in block.splitlines()]
    parts: dict[str, list[str]] = {"": []}
    part = ""
    for line in lines:
        word = line.split()[0] if line.split() else ""
        if word in ("KEYS", "ARGV", "Returns"):
            part, line = word, line.replace(word, "", 1)
            parts[part] = []
        elif line.startswith(" ") and not line.startswith("   "):
            part = ""
        parts[part].append(line.strip())
    keys, _, each = " ".join(parts.get("KEYS", [])).partition("for each ")
    # What is packed comes last, after "then", or alone.
    args, _, more = re.sub("^one ", "then one ", " ".join(parts.get("ARGV", []))).partition("then ")
    return Header(
        " ".join(parts[""]),
        names(keys.replace("then", "")),
        names(each.partition(":")[2]),
        names(args),
        more,
        " ".join(parts.get("Returns", [])),
    )


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def versioned(header: dict[str, Header], short: str) -> Header:
    """The header of `short`, whatever its version is."""
    [found] = [head for name, head in header.items() if re.fullmatch(rf"sluice_{short}_v\d+", name)]
    return found


def layout(text: str) -> dict[str, slice]:
    """`1-12 nonce | 29 place` → where each part is in the packed bytes."""
    parts = re.findall(r"(?:^|[|:]|\s{2,}) *(\d+)(-?)(\d*) ([a-z' ]+)", text)
    return {
        name.strip(): slice(int(first) - 1, int(last) if last else None if dash else int(first))
        for first, dash, last, name in parts
    }


def widths(text: str) -> list[int]:
    """`outcome (1) | order number (8; 0 where there is none)` → the bytes of each part."""
    return [int(size) for size in re.findall(r"\((\d+)[;)]", text)]


class Recording:
    """A client that remembers the function calls that went through it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[Call] = []

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        reply = await self._client.execute_command(*words, **options)
        if words[0] == "FCALL":
            end = 3 + words[2]
            self.calls.append(Call(words[1], list(words[3:end]), list(words[end:]), reply))
        return reply

    async def aclose(self) -> None:
        await self._client.aclose()


async def everything(gate: Gate) -> None:
    """Every call there is, over two items of one group and one of another."""
    stage = Stage(gate, 3)
    await stage.open()
    await stage.put(1, per_buyer=3)
    await stage.put(2, per_buyer=3)
    await stage.put(3, group=2)
    tries = [
        attempt(),
        attempt(item=2),
        attempt(item=3, group=2),
        attempt("acct:2", item=3, group=2),
    ]
    decisions = await stage.buy(*tries)
    for one, decision in zip(tries[1:], decisions[1:], strict=True):
        await stage.release(one, decision.number)
    await gate.edit_stock(3, 1, 1, 1, 5)
    await gate.mark(3, 1, [1, 2, 3])
    await gate.totals(3, [1, 2])
    await stage.held_by("acct:1", 1, 2)
    await gate.holds_of(3, 1, [buyer_digest(b"acct:1"), buyer_digest(b"acct:2")])
    await waiting(stage)
    await gate.status(3)
    await stage.pipe().trim(2)
    await gate.disarm(3)


async def waiting(stage: Stage) -> None:
    """Two who wait for each of two items; one is promoted, one leaves, and the rest is closed."""
    await stage.put(4, stock=1, group=3, state=None)
    entry = (1 << 32 | 3 << 24 | 1, b"acct:9", buyer_digest(b"acct:9"))
    await stage.gate.load_waitlist(3, 1, 4, [entry])
    await stage.set_state("open", 4)
    await stage.put(5, stock=1, group=4)
    [held] = await stage.sell_out(5, group=4)
    those = [waiter(f"acct:{n}", item=item, group=item - 1) for item in (4, 5) for n in (1, 2)]
    await stage.join(*those)
    await stage.places(*those)
    await stage.gate.waitlist_lengths(3, [4, 5])
    await stage.gate.promote_waitlist(3, 1, [4])
    await stage.give_back(held)
    await stage.leave(those[0], those[3])
    await stage.gate.close_waitlist(3, 1, 4, 10)


@pytest.fixture
async def calls(gate: Gate) -> list[Call]:
    recording = Recording(gate.client)
    await everything(Gate(recording))
    return recording.calls


on_one_server = pytest.mark.parametrize("gate_server", ["valkey"], indirect=True)
on_single_servers = pytest.mark.parametrize("gate_server", ["valkey", "redis"], indirect=True)


@on_one_server
def test_every_function_is_called_and_every_call_is_of_a_function(calls: list[Call]) -> None:
    assert {call.function for call in calls} == set(headers())


@on_one_server
def test_keys_are_those_of_the_header_and_carry_the_shards_tag(calls: list[Call]) -> None:
    for call in calls:
        matches = [KEY.fullmatch(key) for key in call.keys]
        assert all(matches), call.keys
        kinds = [match[2] for match in matches if match]
        assert kinds == headers()[call.function].key_kinds(len(kinds)), call.function
        assert {match[1] for match in matches if match} == {"3"}


@on_one_server
def test_arguments_are_as_many_as_the_header_names(calls: list[Call]) -> None:
    for call in calls:
        header = headers()[call.function]
        if header.more_args:
            assert len(call.args) >= len(header.args), call.function
        else:
            assert len(call.args) == len(header.args), call.function
        if "epoch" in header.args:
            assert call.args[header.args.index("epoch")] == 1
            assert header.args.index("epoch") == 0


def test_an_attempt_is_packed_as_the_header_says() -> None:
    where = layout(versioned(headers(), "reserve").more_args)
    one = attempt("acct:77", item=9, quantity=3, publication=0x01020304, expired=True)

    packed = wire.pack_attempt(one, place=5)

    assert {name: packed[at] for name, at in where.items()} == {
        "nonce": one.nonce,
        "buyer digest": one.digest,
        "item's place among": b"\x05",
        "quantity": b"\x03",
        "flags": b"\x01",
        "publication": b"\x01\x02\x03\x04",
        "buyer": b"acct:77",
    }


def test_a_hold_is_packed_as_the_header_says() -> None:
    where = layout(versioned(headers(), "release").more_args)
    packed = wire.pack_hold(wire.Hold(2**63 - 2, 1, 1, b"d" * 16))

    assert {name: packed[at] for name, at in where.items()} == {
        "order number": (2**63 - 2).to_bytes(8, "big"),
        "buyer digest": b"d" * 16,
    }


def test_a_waiter_is_packed_as_the_headers_say() -> None:
    one = waiter("acct:77", publication=0x01020304)

    packed = wire.pack_waiter(one, place=5)

    for name in ("join", "leave", "places"):
        where = layout(versioned(headers(), name).more_args)
        assert {part: packed[at] for part, at in where.items()} == {
            "item's place among": b"\x05",
            "publication": b"\x01\x02\x03\x04",
            "buyer digest": one.digest,
            "buyer": b"acct:77",
        }


def test_an_entry_that_is_loaded_is_packed_as_the_header_says() -> None:
    where = layout(versioned(headers(), "load_line").more_args)
    packed = wire.pack_waiting(wire.Entry(2**63 - 2, b"acct:77", b"d" * 16))

    assert {name: packed[at] for name, at in where.items()} == {
        "entry": (2**63 - 2).to_bytes(8, "big"),
        "buyer digest": b"d" * 16,
        "buyer": b"acct:77",
    }


@on_one_server
def test_answers_have_the_shape_that_the_header_says(calls: list[Call]) -> None:
    replies = {call.function.removeprefix("sluice_")[:-3]: call.reply for call in calls}
    said = {name.removeprefix("sluice_")[:-3]: head.returns for name, head in headers().items()}

    decision = widths(said["reserve"].partition("decision,")[2])
    assert decision == [1, 8, 1, 4]
    assert f"{sum(decision)} bytes" in said["reserve"]
    assert len(next(c.reply[2] for c in calls if "reserve" in c.function)) == 4 * sum(decision)
    held = widths(said["find"])
    assert held == [8, 4, 4]
    assert [len(one) for one in replies["find"]] == [sum(held), 0]
    for name in ("join", "places"):
        place = widths(said[name].partition("waiter,")[2])
        assert place == [1, 8, 4]
        assert f"{sum(place)} bytes" in said[name]
        assert len(replies[name]) == 4 * sum(place)
    for name in ("reserve", "status", "edit", "promote"):
        inside = re.search(r"{(.*?)}", said[name])
        assert inside
        assert len(names(inside[1])) == len(replies[name])
    assert len(replies["status"]) == len(GateStatus._fields)
    assert len(replies["edit"]) == len(EditResult._fields) + 1
    assert all(word in versioned(headers(), "edit").says for word in get_args(EditOutcome))


def test_every_function_name_carries_a_version() -> None:
    assert all(re.fullmatch(r"sluice_[a-z_]+_v[1-9]", name) for name in headers())


# --- what Lua touches -----------------------------------------------------------------------------


async def monitored(url: str, gate: Gate) -> list[tuple[str, list[str]]]:
    """(who, words) of every command that the server ran while `everything` was called."""
    reader, writer = await asyncio.open_unix_connection(urlsplit(url).path)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    await everything(gate)
    await gate.client.execute_command("ECHO", "done")
    lines = []
    while b'"done"' not in (line := (await reader.readline()).decode()).encode():
        who = re.match(r"\+[\d.]+ \[\d+ (\S+)", line)
        assert who
        lines.append((who[1].rstrip("]"), WORDS.findall(line)))
    writer.close()
    await writer.wait_closed()
    return lines


def by_call(lines: list[tuple[str, list[str]]]) -> Iterator[tuple[str, set[str], list[list[str]]]]:
    """Function, its declared keys, and the commands that it ran."""
    function, declared, inside = "", set[str](), list[list[str]]()
    for who, words in [*lines, ("", ["FCALL", "", "0"])]:
        if who == "lua":
            inside.append(words)
        elif words[0] == "FCALL":
            yield function, declared, inside
            function, declared, inside = words[1], set(words[3 : 3 + int(words[2])]), []


@on_single_servers
async def test_lua_touches_no_key_that_was_not_declared(gate: Gate, gate_server: Server) -> None:
    ran = 0
    for function, declared, inside in by_call(await monitored(gate_server.url, gate)):
        for words in inside:
            assert words[0] == "TIME" or words[1] in declared, (function, words)
            ran += 1
    assert ran > 50


@on_single_servers
async def test_lua_reads_and_decides_before_it_writes_and_logs_first(
    gate: Gate, gate_server: Server
) -> None:
    """Lua does not roll back: what can fail has to come before what cannot be undone."""
    reads = {"TIME", "HGET", "HMGET", "ZCARD", "ZRANGE", "ZRANK", "ZMSCORE"}
    logged = 0
    for function, _, inside in by_call(await monitored(gate_server.url, gate)):
        commands = [words[0] for words in inside]
        writes = [command for command in commands if command not in reads]
        assert commands[len(commands) - len(writes) :] == writes, (function, commands)
        if "XADD" in writes:
            assert writes[0] == "XADD", (function, commands)
            logged += 1
    assert logged == 12
