-- mark: append an audit mark: the gate's own totals at this very place of its log.
--
-- KEYS  shard, stream, then for each item: item, line
-- ARGV  epoch
-- Returns the counter of the mark.
-- May run above maxmemory: without marks nobody could audit.

local function mark(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local totals = {}
  for i = 3, #keys, 2 do
    local f = redis.call('HMGET', keys[i], 'available', 'held', 'stock')
    if f[1] then
      local waiting = redis.call('ZCARD', keys[i + 1])
      totals[#totals + 1] =
        table.concat({string.match(keys[i], '%d+$'), f[1], f[2], f[3], waiting}, ',')
    end
  end
  local counter = shard.counter + 1
  log(keys[2], counter, 'm', table.concat(totals, ';'))
  redis.call('HSET', keys[1], 'counter', counter)
  return counter
end

-- trim: forget the log below a counter.
--
-- KEYS  stream
-- ARGV  counter
-- Returns how many entries went.
-- May run above maxmemory: it frees.

local function trim(keys, args)
  return redis.call('XTRIM', keys[1], 'MINID', args[1] .. '-0')
end

-- totals: the stock of items, and how many wait for each.
--
-- KEYS  for each item: item, line
-- Returns {available, held, stock, waiting} an item, or {} where it is not known.

local function totals(keys)
  local answer = {}
  for i = 1, #keys, 2 do
    local f = redis.call('HMGET', keys[i], 'available', 'held', 'stock')
    answer[#answer + 1] = f[1]
      and {tonumber(f[1]), tonumber(f[2]), tonumber(f[3]), redis.call('ZCARD', keys[i + 1])} or {}
  end
  return answer
end

-- find: what a buyer holds.
--
-- KEYS  for each limit group: holders
-- ARGV  digest
-- Returns packed holds, or '' where there is none, a limit group:
--         order number (8) | slot mask (4) | item id (4)

local function find(keys, args)
  local answer = {}
  for i = 1, #keys do
    answer[i] = redis.call('HGET', keys[i], args[1]) or ''
  end
  return answer
end

-- find_all: what each of many buyers holds in one limit group.
--
-- KEYS  holders
-- ARGV  one digest a buyer
-- Returns packed holds as `find` does, a buyer.

local function find_all(keys, args)
  local answer = {}
  for i = 1, #args do
    answer[i] = redis.call('HGET', keys[1], args[i]) or ''
  end
  return answer
end

redis.register_function{
  function_name = 'sluice_mark_v2', callback = mark, flags = {'allow-oom'},
}
redis.register_function{
  function_name = 'sluice_trim_v1', callback = trim, flags = {'allow-oom'},
}
redis.register_function{
  function_name = 'sluice_totals_v2', callback = totals, flags = {'no-writes'},
}
redis.register_function{
  function_name = 'sluice_find_v1', callback = find, flags = {'no-writes'},
}
redis.register_function{
  function_name = 'sluice_find_all_v1', callback = find_all, flags = {'no-writes'},
}
