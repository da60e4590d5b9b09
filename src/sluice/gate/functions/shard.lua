-- begin: start a new epoch. Numbers go on above every number of the second `second_floor`, and above
-- all that this gate remembers to have minted; the log starts at 1.
--
-- KEYS  shard
-- ARGV  epoch, shard, second_floor
-- Returns 1 where the epoch was started, 0 where the gate holds this one or a later one.

local function begin(keys, args)
  local f = redis.call('HMGET', keys[1], 'epoch', 'second', 'base')
  if f[1] and tonumber(f[1]) >= tonumber(args[1]) then return 0 end
  -- That second counts as full: the first number comes from a later one.
  local second = math.max(tonumber(args[3]), tonumber(f[2]) or 0)
  armed[keys[1]] = nil
  redis.call('HSET', keys[1], 'epoch', args[1], 'shard', args[2], 'second', second,
    'sequence', SEQUENCE_MAX, 'counter', 0, 'base', f[3] or (f[1] and 0) or second)
  return 1
end

-- arm: let the shard sell for `lease_ms` from now, by this server's clock.
--
-- KEYS  shard
-- ARGV  epoch, lease_ms
-- Returns the end of the lease in ms.
-- May run above maxmemory, like disarm: it costs none, and what follows must not be an unarmed gate.

local function arm(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local until_ms = now_ms() + tonumber(args[2])
  armed[keys[1]] = {epoch = args[1], until_ms = until_ms}
  return until_ms
end

-- disarm: stop selling at once.
--
-- KEYS  shard
-- Returns 1.

local function disarm(keys)
  armed[keys[1]] = nil
  return 1
end

-- status: what the gate knows of a shard.
--
-- KEYS  shard
-- Returns {epoch or -1, second, sequence, counter, end of the lease in ms or 0, now in ms}

local function status(keys)
  local f = redis.call('HMGET', keys[1], 'epoch', 'second', 'sequence', 'counter')
  local now = now_ms()
  if not f[1] then return {-1, 0, 0, 0, 0, now} end
  local lease = armed[keys[1]]
  local until_ms = 0
  if lease and lease.epoch == f[1] and lease.until_ms > now then until_ms = lease.until_ms end
  return {tonumber(f[1]), tonumber(f[2]), tonumber(f[3]), tonumber(f[4]), until_ms, now}
end

redis.register_function('sluice_begin_v1', begin)
redis.register_function{
  function_name = 'sluice_arm_v1', callback = arm, flags = {'allow-oom'},
}
redis.register_function{
  function_name = 'sluice_disarm_v1', callback = disarm, flags = {'allow-oom'},
}
redis.register_function{
  function_name = 'sluice_status_v1', callback = status, flags = {'no-writes'},
}
