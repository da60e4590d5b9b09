-- The line for an item: a sorted set of buyers (digest, then key). A score is second and sequence of
-- the entry's number as one number, seconds counted from the shard's base: a whole number of the
-- gate's has 63 bits, and a score is a double, exact up to 2^53.

local SEQUENCE_STEP = 16777216       -- 2^24: sequences of a second
local LINE_SECONDS_MAX = 536870912   -- 2^29: further from the base a score would not be exact
local DIGEST_BYTES = 16
local LEFT = {left = 0, limit_reached = 1, closed = 2}  -- as wire.LEFT_REASONS

local function score_of(shard, second, sequence)
  return (second - shard.base) * SEQUENCE_STEP + sequence
end

-- The entry's number, as 8 bytes.
local function entry_of(shard, score)
  score = tonumber(score)
  local seconds = math.floor(score / SEQUENCE_STEP)
  return number_at(shard.base + seconds, shard.shard, score - seconds * SEQUENCE_STEP)
end

-- Whether units that come back go to whoever waits for the item; a paused sale keeps that promise.
local function line_moves(item, now)
  return (item.state == 'open' or item.state == 'paused') and now < item.waits
end

local function item_id_of(key)
  return tonumber(string.match(key, '%d+$'))
end

-- ARGV that stand for waiters, by item: what the set calls each, with its score where it is in line.
-- `first` is the first item among the keys, `step` how many keys an item has, the line last.
local function read_waiters(keys, args, from, first, step)
  local asked, lines = {}, {}
  for i = from, #args do
    local place = string.byte(args[i], 1)
    local line = lines[place]
    if not line then
      local at = first + (place - 1) * step
      line = {at = at, key = keys[at + step - 1], id = item_id_of(keys[at]), members = {},
        scores = {}}
      lines[place] = line
    end
    local member = string.sub(args[i], 6)
    line.members[#line.members + 1] = member
    asked[#asked + 1] = {line = line, member = member, publication = struct.unpack('>I4', args[i], 2)}
  end
  for _, line in pairs(lines) do
    local scores = redis.call('ZMSCORE', line.key, unpack(line.members))
    for i, member in ipairs(line.members) do line.scores[member] = scores[i] or nil end
  end
  return asked, lines
end

local function place_told(outcome, entry, ahead)
  return string.char(outcome) .. entry .. struct.pack('>I4', ahead)
end

-- places: where buyers stand in line. Nothing changes.
--
-- KEYS  shard, then for each item: line
-- ARGV  one packed waiter each:
--         1 item's place among KEYS, from 1 | 2-5 publication | 6-21 buyer digest | 22- buyer
-- Returns 13 bytes a waiter, in order:
--         outcome (1) | entry (8; 0 where there is none) | ahead (4)

local function places(keys, args)
  local s = redis.call('HMGET', keys[1], 'epoch', 'shard', 'base')
  if not s[1] then return lost(keys[1]) end
  local shard = {shard = tonumber(s[2]), base = tonumber(s[3]) or 0}
  local answers = {}
  for i, one in ipairs(read_waiters(keys, args, 1, 2, 1)) do
    local score = one.line.scores[one.member]
    if score then
      answers[i] = place_told(WAIT.WAITING, entry_of(shard, score),
        redis.call('ZRANK', one.line.key, one.member))
    else
      answers[i] = place_told(WAIT.NONE, NO_NUMBER, 0)
    end
  end
  return table.concat(answers)
end

-- lengths: how many wait.
--
-- KEYS  for each item: line
-- Returns one number an item.

local function lengths(keys)
  local answer = {}
  for i = 1, #keys do answer[i] = redis.call('ZCARD', keys[i]) end
  return answer
end

-- load_line: put entries back into the line of an item that is loaded and not yet open. Numbers go on
-- above all of them. Repeating it changes nothing.
--
-- KEYS  shard, item, line
-- ARGV  epoch, then one packed entry each:
--         1-8 entry | 9-24 buyer digest | 25- buyer
-- Returns how many of them stand in line now; 0 where the item is not in that state.

local function load_line(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  if redis.call('HGET', keys[2], 'state') ~= 'loaded' then return 0 end
  local added, highest, top = {}, score_of(shard, shard.second, shard.sequence), nil
  for i = 2, #args do
    local second, rest = struct.unpack(NUMBER, args[i])
    assert(math.floor(rest / SHARD_STEP) == shard.shard)
    assert(math.abs(second - shard.base) < LINE_SECONDS_MAX)
    local score = score_of(shard, second, rest % SHARD_STEP)
    if score > highest then highest, top = score, second end
    added[#added + 1] = string.format('%.0f', score)
    added[#added + 1] = string.sub(args[i], 9)
  end
  redis.call('ZCARD', keys[3])  -- fails here, before anything is written, where the key is no line
  if top then redis.call('HSET', keys[1], 'second', top, 'sequence', SEQUENCE_MAX) end
  redis.call('ZADD', keys[3], unpack(added))
  return #args - 1
end

redis.register_function{
  function_name = 'sluice_places_v1', callback = places, flags = {'no-writes'},
}
redis.register_function{
  function_name = 'sluice_lengths_v1', callback = lengths, flags = {'no-writes'},
}
redis.register_function('sluice_load_line_v1', load_line)
