-- leave: take buyers out of the line. Idempotent: who does not stand in it is left alone.
--
-- KEYS  shard, stream, then for each item: line
-- ARGV  epoch, then one packed waiter each:
--         1 item's place among KEYS, from 1 | 2-5 publication | 6-21 buyer digest | 22- buyer
-- Returns one 0 or 1 a waiter: whether the place was given up now.
-- May run above maxmemory: it frees.

local function leave(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local asked, lines = read_waiters(keys, args, 2, 3, 1)
  local answers, logged = {}, {}
  for i, one in ipairs(asked) do
    local line = one.line
    local score = line.scores[one.member]
    answers[i] = score and 1 or 0
    if score then
      line.scores[one.member] = nil
      line.gone = line.gone or {}
      line.gone[#line.gone + 1] = one.member
      logged[#logged + 1] = left_entry(shard, score, line.id, LEFT.left)
    end
  end
  if #logged == 0 then return answers end

  local counter = shard.counter + 1
  log(keys[2], counter, 'l', table.concat(logged))
  redis.call('HSET', keys[1], 'counter', counter)
  for _, line in pairs(lines) do
    if line.gone then redis.call('ZREM', line.key, unpack(line.gone)) end
  end
  return answers
end

-- close: end entries from the head of a line, since nobody will be promoted any more.
--
-- KEYS  shard, stream, line
-- ARGV  epoch, item id, limit
-- Returns how many are left in line.
-- May run above maxmemory: it frees.

local function close(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local limit, item_id = tonumber(args[3]), tonumber(args[2])
  local length = redis.call('ZCARD', keys[3])
  if limit < 1 or length == 0 then return length end
  local head = redis.call('ZRANGE', keys[3], 0, limit - 1, 'WITHSCORES')
  local logged = {}
  for i = 2, #head, 2 do
    logged[#logged + 1] = left_entry(shard, head[i], item_id, LEFT.closed)
  end
  local counter = shard.counter + 1
  log(keys[2], counter, 'l', table.concat(logged))
  redis.call('HSET', keys[1], 'counter', counter)
  redis.call('ZREMRANGEBYRANK', keys[3], 0, #logged - 1)
  return length - #logged
end

redis.register_function{
  function_name = 'sluice_leave_v1', callback = leave, flags = {'allow-oom'},
}
redis.register_function{
  function_name = 'sluice_close_v1', callback = close, flags = {'allow-oom'},
}
