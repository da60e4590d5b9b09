-- load: put an item's stock into the gate. It stays shut ('loaded') until set_state opens it.
--
-- KEYS  shard, item
-- ARGV  epoch, publication, edit, then further fields and values of the item's hash
-- Returns 1 where it was loaded, 0 where the item is open for business already, or where the gate
-- knows something newer (a later publication, or a later stock edit of this one). An item that
-- nobody holds yet may be loaded anew by a later publication (its start, price or limit changed).

local function load(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local f = redis.call('HMGET', keys[2], 'state', 'publication', 'held', 'edit')
  if f[1] then
    local given, known = tonumber(args[2]), tonumber(f[2])
    local older = given < known or (given == known and tonumber(args[3]) < tonumber(f[4]))
    local open = f[1] ~= 'loaded' and (given == known or f[3] ~= '0')
    if older or open then return 0 end
  end
  redis.call('HSET', keys[2], 'state', 'loaded', 'publication', args[2], 'edit', args[3],
    unpack(args, 4))
  return 1
end

-- set_state: make items open, paused or closed, and move the end of their sale and, unless it is
-- empty, of their waitlist (ms).
--
-- KEYS  shard, then for each item: item
-- ARGV  epoch, state, ends, waits
-- Returns how many of the items the gate knows.
-- May run above maxmemory: a sale must be stopped even then.

local function set_state(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local known, changed = 0, {}
  for i = 2, #keys do
    local f = redis.call('HMGET', keys[i], 'state', 'ends', 'waits')
    if f[1] then
      known = known + 1
      local waits = args[4] ~= '' and args[4] or f[3] or '0'
      if f[1] ~= args[2] or f[2] ~= args[3] or f[3] ~= waits then
        changed[#changed + 1] = {key = keys[i], waits = waits}
      end
    end
  end
  for _, item in ipairs(changed) do
    redis.call('HSET', item.key, 'state', args[2], 'ends', args[3], 'waits', item.waits)
  end
  return known
end

redis.register_function('sluice_load_v1', load)
redis.register_function{
  function_name = 'sluice_set_state_v2', callback = set_state, flags = {'allow-oom'},
}
