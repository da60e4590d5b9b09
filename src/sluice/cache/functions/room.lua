-- What buyers ask of waiting rooms: one batch, each request seeing what those before it did.
--
-- KEYS     for each room: state, line, turn, active, away; then the set of all rooms
-- ARGV[1]  16 random bytes, the seed of a room that has none yet
-- ARGV[2]  >III for how many ms: a call waits for its buyer, a turn lasts, a missed call is forgiven
-- ARGV[3]  for each room >d: when its sale starts, Unix ms
-- ARGV[4]  the requests, >IBBIc16 each: room (from 0), what is asked, priority, ms that a pass
--          lasts, the buyer's digest
-- ARGV[5]  how many may wait in one room
-- Returns  one packed string: for each request >BBBBIII status, came before the start, priority,
--          place is new, number, how many are ahead, ms that are left of the turn; then for each
--          room >IddBB how many wait, the pace wanted and measured, why nobody is let in, has begun
--
-- state   hash    seed; last: the last number given; credit, credit_at: the token bucket (admit.lua);
--                 pace, measured, measured_at, blocked, mode, admitted: what the pacer says
-- line    zset    digest → place, see `place_of`
-- turn    hash    digest → >ddBB place, until when (0: stands in line again), calls, has come
-- active  zset    digest → until when they count as in
-- away    zset    digest → when what is known of their turn is forgotten
--
-- A buyer is in `line` or has a turn, never both, but for one who missed a call and is back in line.

local LOOK, JOIN, LEAVE, ENTER, BOUGHT = 0, 1, 2, 3, 4
local NONE, WAITING, ADMITTED, FULL = 0, 1, 2, 3
local NUMBERS = 16777216
local CLASS = NUMBERS * NUMBERS
local PRIORITY_MAX = 9

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local call_ms, turn_ms, grace_ms = struct.unpack('>III', ARGV[2])

local rooms = {}

local function room_of(index)
  local room = rooms[index]
  if room then return room end
  local base = index * 5
  local start = struct.unpack('>d', ARGV[3], index * 8 + 1)
  room = {
    state = KEYS[base + 1], line = KEYS[base + 2], turn = KEYS[base + 3],
    active = KEYS[base + 4], away = KEYS[base + 5], begun = now >= start,
  }
  rooms[index] = room
  return room
end

-- The seed and the last number are read once a batch, and only where somebody joins.
local function open_book(room)
  if room.last then return end
  local book = redis.call('HMGET', room.state, 'seed', 'last')
  room.seed, room.last = book[1], tonumber(book[2] or 0)
  if not room.seed then
    room.seed = ARGV[1]
    redis.call('HSET', room.state, 'seed', room.seed)
    redis.call('SADD', KEYS[#KEYS], string.match(room.state, '%d+$'))
  end
end

-- A place in one exact number: class (priority, then before or after the start), lot (24 bits, for
-- those before the start), number (24 bits). The lot follows from a secret and the buyer alone, so
-- that nobody draws twice, however often they leave and come.
local function place_of(room, digest, priority, early, number)
  local class, lot = (PRIORITY_MAX - priority) * 2 + 1, 0
  if early then
    class = class - 1
    lot = tonumber(string.sub(redis.sha1hex(room.seed .. digest), 1, 6), 16)
  end
  return class * CLASS + lot * NUMBERS + number
end

local function parts_of(place)
  local class = math.floor(place / CLASS)
  return PRIORITY_MAX - math.floor(class / 2), class % 2 == 0, place % NUMBERS
end

local function add(room, digest, place)
  redis.call('ZADD', room.line, string.format('%.0f', place), digest)
end

local function said(status, place, ahead, left, new)
  local priority, early, number = 0, false, 0
  if place then priority, early, number = parts_of(place) end
  return struct.pack('>BBBBIII', status, early and 1 or 0, priority, new and 1 or 0, number, ahead,
    left)
end

local function waiting(room, digest, place, new)
  local ahead = room.begun and redis.call('ZRANK', room.line, digest) or 0
  return said(WAITING, place, ahead, 0, new)
end

local function forget(room, digest)
  redis.call('HDEL', room.turn, digest)
  redis.call('ZREM', room.active, digest)
  redis.call('ZREM', room.away, digest)
end

-- What a turn that is known of means now; nil where it means nothing any more.
local function in_turn(room, digest, ask, pass_ms, record)
  local place, till, calls, come = struct.unpack('>ddBB', record)
  if till > now then
    if come == 0 then
      till, come = now + turn_ms, 1
      redis.call('HSET', room.turn, digest, struct.pack('>ddBB', place, till, calls, come))
      redis.call('ZADD', room.active, 'XX', till, digest)
    end
    if ask == ENTER then
      redis.call('ZADD', room.active, 'XX', 'GT', now + pass_ms, digest)
    elseif ask == BOUGHT and redis.call('ZREM', room.active, digest) == 1 then
      redis.call('ZADD', room.away, till, digest)
    end
    return said(ADMITTED, place, 0, till - now, false)
  end
  if come == 0 and till > 0 and now < till + grace_ms then
    redis.call('ZREM', room.active, digest)
    redis.call('ZREM', room.away, digest)
    redis.call('HSET', room.turn, digest, struct.pack('>ddBB', place, 0, calls, 0))
    add(room, digest, place)
    return waiting(room, digest, place, false)
  end
  -- A pass that was given in this turn may still be out: they count as in until it ends.
  redis.call('HDEL', room.turn, digest)
  redis.call('ZREM', room.away, digest)
  return nil
end

local function asked(room, ask, priority, pass_ms, digest)
  if ask == LEAVE then
    redis.call('ZREM', room.line, digest)
    forget(room, digest)
    return said(NONE, nil, 0, 0, false)
  end
  local place = redis.call('ZSCORE', room.line, digest)
  if place then
    place = tonumber(place)
    local had, early, number = parts_of(place)
    if ask == JOIN and priority > had then
      open_book(room)
      place = place_of(room, digest, priority, early, number)
      add(room, digest, place)
    end
    return waiting(room, digest, place, false)
  end
  local record = redis.call('HGET', room.turn, digest)
  if record then
    local answer = in_turn(room, digest, ask, pass_ms, record)
    if answer then return answer end
  end
  if ask ~= JOIN then return said(NONE, nil, 0, 0, false) end
  open_book(room)
  if room.last + 1 >= NUMBERS or redis.call('ZCARD', room.line) >= tonumber(ARGV[5]) then return said(FULL, nil, 0, 0, false) end
  room.last, room.grown = room.last + 1, true
  place = place_of(room, digest, priority, not room.begun, room.last)
  add(room, digest, place)
  return waiting(room, digest, place, true)
end

local answer, at = {}, 1
while at <= #ARGV[4] do
  local index, ask, priority, pass_ms, digest
  index, ask, priority, pass_ms, digest, at = struct.unpack('>IBBIc16', ARGV[4], at)
  answer[#answer + 1] = asked(room_of(index), ask, priority, pass_ms, digest)
end

for index = 0, (#KEYS - 1) / 5 - 1 do
  local room = room_of(index)
  if room.grown then redis.call('HSET', room.state, 'last', room.last) end
  local told = redis.call('HMGET', room.state, 'pace', 'measured', 'blocked')
  answer[#answer + 1] = struct.pack('>IddBB', redis.call('ZCARD', room.line),
    tonumber(told[1] or 0), tonumber(told[2] or 0), tonumber(told[3] or 0), room.begun and 1 or 0)
end

return table.concat(answer)
