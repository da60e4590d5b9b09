-- join: put buyers at the end of the line, each for one unit of an item that is held out. Whoever
-- stands in line already keeps that place.
--
-- KEYS  shard, stream, then for each item of the batch: item, holders, line
-- ARGV  epoch, then one packed waiter each:
--         1 item's place among KEYS, from 1 | 2-5 publication | 6-21 buyer digest | 22- buyer
-- Returns 13 bytes a waiter, in order:
--         outcome (1) | entry (8; 0 where there is none; the number held where the limit is reached)
--         | ahead (4)

local LINE_MAX = 250000   -- in one line; some 40 MB. Who is further back than that has no hope.

local function read_wanted(keys, lines)
  for _, line in pairs(lines) do
    local f = redis.call('HMGET', keys[line.at], 'state', 'available', 'starts', 'ends', 'limit',
      'publication', 'waits')
    line.state, line.available, line.starts = f[1], tonumber(f[2]), tonumber(f[3])
    line.ends, line.limit, line.publication = tonumber(f[4]), tonumber(f[5]), tonumber(f[6])
    line.waits = tonumber(f[7]) or 0
    line.length = redis.call('ZCARD', line.key)
    line.holds, line.added = {}, {}
    local digests = {}
    for i, member in ipairs(line.members) do digests[i] = string.sub(member, 1, DIGEST_BYTES) end
    local holds = redis.call('HMGET', keys[line.at + 1], unpack(digests))
    for i, member in ipairs(line.members) do line.holds[member] = holds[i] or '' end
  end
end

-- Why nobody can wait for the item now, or nil.
local function no_line(line, now, publication)
  if not line.state or publication ~= line.publication then return WAIT.UNKNOWN_ITEM end
  if line.state == 'loaded' then return WAIT.NOT_ARMED end
  if line.waits == 0 then return WAIT.NO_WAITLIST end
  if now < line.starts then return WAIT.NOT_STARTED end
  if now >= line.ends or not line_moves(line, now) then return WAIT.ENDED end
  return nil
end

local function join(keys, args)
  local now = now_ms()
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  if not is_armed(keys[1], args[1], now) then
    return string.rep(place_told(WAIT.NOT_ARMED, NO_NUMBER, 0), #args - 1)
  end
  local asked, lines = read_waiters(keys, args, 2, 3, 3)
  read_wanted(keys, lines)
  wind(shard, now)
  local answers, logged, joined = {}, {}, {}
  for i, one in ipairs(asked) do
    local line, member = one.line, one.member
    local told = joined[line.key .. member]
    if told then
      answers[i] = place_told(WAIT.WAITING, told.entry, told.ahead)
    elseif line.scores[member] then
      answers[i] = place_told(WAIT.WAITING, entry_of(shard, line.scores[member]),
        redis.call('ZRANK', line.key, member))
    else
      local refused = no_line(line, now, one.publication)
      local holds = line.holds[member]
      local held = holds_item(holds, line.id)
      if refused then
        answers[i] = place_told(refused, NO_NUMBER, 0)
      elseif held or not free_slots(holds, line.limit, 1) then
        answers[i] = place_told(WAIT.LIMIT_REACHED, held or string.sub(holds, 1, 8), 0)
      elseif line.available > 0 and line.length == 0 then
        answers[i] = place_told(WAIT.AVAILABLE, NO_NUMBER, 0)
      elseif line.length >= LINE_MAX or shard.second - shard.base >= LINE_SECONDS_MAX then
        answers[i] = place_told(WAIT.FULL, NO_NUMBER, 0)
      else
        local entry, buyer = mint(shard), string.sub(member, DIGEST_BYTES + 1)
        joined[line.key .. member] = {entry = entry, ahead = line.length}
        answers[i] = place_told(WAIT.JOINED, entry, line.length)
        line.length = line.length + 1
        line.added[#line.added + 1] =
          string.format('%.0f', score_of(shard, shard.second, shard.sequence))
        line.added[#line.added + 1] = member
        logged[#logged + 1] = entry .. struct.pack('>I4I2', line.id, #buyer) .. buyer
      end
    end
  end
  if #logged == 0 then return table.concat(answers) end

  local counter = shard.counter + 1
  log(keys[2], counter, 'w', table.concat(logged))
  redis.call('HSET', keys[1], 'second', shard.second, 'sequence', shard.sequence,
    'counter', counter)
  for _, line in pairs(lines) do
    if #line.added > 0 then redis.call('ZADD', line.key, unpack(line.added)) end
  end
  return table.concat(answers)
end

redis.register_function('sluice_join_v1', join)
