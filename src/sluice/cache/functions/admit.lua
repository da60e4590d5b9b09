-- One step of the pacer in one waiting room: ends turns that are over, lets in who may come now.
--
-- KEYS     state, line, turn, active, away (see room.lua); the pacer's lease
-- ARGV[1]  the pacer's name: who has lost the lease changes nothing
-- ARGV[2]  people a second
-- ARGV[3]  how many may be in at once, or -1; ARGV[4]  how many the stock can serve, or -1
-- ARGV[5]  1 where the sale is live
-- ARGV[6]  how the pace came about, for operators
-- ARGV[7]  >III as in room.lua; ARGV[8]  calls until a place is gone; ARGV[9]  at most so many now
-- Returns  {} where the lease is another's; else {waiting, active, admitted so far, measured pace,
--          why nobody more is let in, then the digests of those whose turn it is now}

local BURST_MS = 1000    -- what a pacer that comes late may make good: more would be a burst
local MEASURED_MS = 10000 -- the measured pace forgets at this speed
local SWEEP_MAX = 5000
local CHUNK = 500
local NO, ACTIVE, STOCK, CLOSED = 0, 1, 2, 3

local state, line, turn, active, away = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
if redis.call('GET', KEYS[6]) ~= ARGV[1] then return {} end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local call_ms, _, grace_ms = struct.unpack('>III', ARGV[7])
local rate, is_open = tonumber(ARGV[2]), ARGV[5] == '1'

for _, digest in ipairs(redis.call('ZRANGEBYSCORE', active, '-inf', now, 'LIMIT', 0, SWEEP_MAX)) do
  redis.call('ZREM', active, digest)
  local record = redis.call('HGET', turn, digest)
  if record then
    local _, till, calls, come = struct.unpack('>ddBB', record)
    if come == 1 or calls >= tonumber(ARGV[8]) then
      redis.call('HDEL', turn, digest)
    else
      redis.call('ZADD', away, till + grace_ms, digest)
    end
  end
end
for _, digest in ipairs(redis.call('ZRANGEBYSCORE', away, '-inf', now, 'LIMIT', 0, SWEEP_MAX)) do
  redis.call('ZREM', away, digest)
  redis.call('HDEL', turn, digest)
end

local kept = redis.call('HMGET', state, 'credit', 'credit_at', 'measured', 'measured_at')
local credit, since = tonumber(kept[1] or 1), tonumber(kept[2] or now)
local waiting = redis.call('ZCARD', line)
local inside = redis.call('ZCARD', active)

-- The bucket: what came in since the last step, at most a second's worth and one person.
local passed = math.max(now - since, 0)
credit = math.min(credit + rate * passed / 1000, rate * BURST_MS / 1000 + 1)
if not is_open then credit = math.min(credit, 1) end

local room, blocked = math.floor(credit + 0.000001), NO
local function bound(limit, why)
  if limit >= 0 and limit - inside < room then
    room = math.max(0, limit - inside)
    if room == 0 then blocked = why end
  end
end
bound(tonumber(ARGV[3]), ACTIVE)
bound(tonumber(ARGV[4]), STOCK)
if not is_open then room, blocked = 0, CLOSED end
room = math.min(room, waiting, tonumber(ARGV[9]))

local called = {}
if room > 0 then
  local popped = redis.call('ZPOPMIN', line, room)
  local turns, actives = {}, {}
  local function write()
    redis.call('HSET', turn, unpack(turns))
    redis.call('ZADD', active, unpack(actives))
    turns, actives = {}, {}
  end
  for i = 1, #popped, 2 do
    local digest, calls = popped[i], 0
    local record = redis.call('HGET', turn, digest)
    if record then
      local _, _, before = struct.unpack('>ddB', record)
      calls = before
    end
    called[#called + 1] = digest
    turns[#turns + 1] = digest
    turns[#turns + 1] = struct.pack('>ddBB', tonumber(popped[i + 1]), now + call_ms, calls + 1, 0)
    actives[#actives + 1] = now + call_ms
    actives[#actives + 1] = digest
    if #turns >= CHUNK then write() end
  end
  if #turns > 0 then write() end
  credit = credit - #called
end

local measured, told_at = tonumber(kept[3] or 0), tonumber(kept[4] or now)
measured = measured * math.exp(-math.max(now - told_at, 0) / MEASURED_MS)
measured = measured + #called * 1000 / MEASURED_MS
local total = redis.call('HINCRBY', state, 'admitted', #called)
redis.call('HSET', state, 'credit', string.format('%.6f', credit), 'credit_at', now,
  'measured', string.format('%.6f', measured), 'measured_at', now, 'pace', ARGV[2],
  'blocked', blocked, 'mode', ARGV[6])
return {waiting - #called, inside + #called, total, string.format('%.6f', measured), blocked,
  unpack(called)}
