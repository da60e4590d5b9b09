-- Giving units to the head of a line. What a call does to shard, holds and items is gathered in a
-- turn, in Lua's memory, and written by `commit` at its end.

local LOOK_MAX = 2000   -- waiters that one call looks at, so that it does not keep others waiting
local READ_MAX = 250    -- of them read at once,
local READ_SPARE = 16   -- and so many more than there are units: some may have no slot left

local function begin_turn(keys, epoch, shard)
  local now = now_ms()
  return {shard = shard, now = now, armed = is_armed(keys[1], epoch, now), looked = 0, orders = 0,
    holders = {}, items = {}, runs = {}}
end

-- Remembers a fact for the log; facts of one kind that follow each other become one entry.
local function note(turn, kind, fact)
  local run = turn.runs[#turn.runs]
  if not run or run.kind ~= kind then
    run = {kind = kind}
    turn.runs[#turn.runs + 1] = run
  end
  run[#run + 1] = fact
end

-- An item that the gate does not hold any more has no stock to go back to, and no line.
local function item_of(turn, key, line)
  local item = turn.items[key]
  if item then return item end
  local f = redis.call('HMGET', key, 'state', 'available', 'held', 'limit', 'waits')
  item = {
    key = key, id = item_id_of(key), line = line, state = f[1], available = tonumber(f[2]) or 0,
    held = tonumber(f[3]) or 0, limit = tonumber(f[4]) or 0, waits = tonumber(f[5]) or 0,
    length = 0, at = 0, head = {}, read = 0,
  }
  if item.state and line_moves(item, turn.now) then item.length = redis.call('ZCARD', line) end
  turn.items[key] = item
  return item
end

local function holder_of(turn, key, digest)
  local name = key .. digest
  local holder = turn.holders[name]
  if not holder then
    local records = redis.call('HGET', key, digest) or ''
    holder = {key = key, digest = digest, records = records}
    turn.holders[name] = holder
  end
  return holder
end

local function next_in_line(item)
  if 2 * item.read == #item.head then
    local last = item.at + math.min(READ_MAX, item.available + READ_SPARE) - 1
    item.head = redis.call('ZRANGE', item.line, item.at, last, 'WITHSCORES')
    item.read = 0
  end
  item.read, item.at = item.read + 1, item.at + 1
  return item.head[2 * item.read - 1], item.head[2 * item.read]
end

local function left_entry(shard, score, item_id, reason)
  return entry_of(shard, score) .. struct.pack('>I4B', item_id, reason)
end

-- Gives the item's available units to its line, one each. Who has no slot left leaves it. Returns
-- whether there is more to do than one call may; a gate that is not armed accepts nobody.
local function give_to_line(turn, item, holders_key)
  if not turn.armed then return false end
  while item.available > 0 and item.at < item.length do
    if turn.looked == LOOK_MAX then return true end
    turn.looked = turn.looked + 1
    local member, score = next_in_line(item)
    local holder = holder_of(turn, holders_key, string.sub(member, 1, DIGEST_BYTES))
    local slots = not holds_item(holder.records, item.id)
      and free_slots(holder.records, item.limit, 1)
    if slots then
      wind(turn.shard, turn.now)
      local number, buyer = mint(turn.shard), string.sub(member, DIGEST_BYTES + 1)
      holder.records = holder.records .. number .. struct.pack(HOLD, slots, item.id)
      holder.changed = true
      item.available, item.held = item.available - 1, item.held + 1
      turn.orders = turn.orders + 1
      note(turn, 'p', number .. struct.pack('>I4I4', slots, item.id)
        .. entry_of(turn.shard, score) .. struct.pack('>I2', #buyer) .. buyer)
    else
      note(turn, 'l', left_entry(turn.shard, score, item.id, LEFT.limit_reached))
    end
  end
  return false
end

-- Writes all of the turn, its facts first and in their order.
local function commit(turn, keys)
  local shard = turn.shard
  for _, run in ipairs(turn.runs) do
    shard.counter = shard.counter + 1
    log(keys[2], shard.counter, run.kind, table.concat(run))
  end
  redis.call('HSET', keys[1], 'second', shard.second, 'sequence', shard.sequence,
    'counter', shard.counter)
  for _, holder in pairs(turn.holders) do
    if holder.changed and holder.records == '' then
      redis.call('HDEL', holder.key, holder.digest)
    elseif holder.changed then
      redis.call('HSET', holder.key, holder.digest, holder.records)
    end
  end
  for _, item in pairs(turn.items) do
    if item.state then
      redis.call('HSET', item.key, 'available', item.available, 'held', item.held)
    end
    if item.at > 0 then redis.call('ZREMRANGEBYRANK', item.line, 0, item.at - 1) end
  end
end

-- promote: give what is available of an item to whoever waits for it.
--
-- KEYS  shard, stream, item, holders, line
-- ARGV  epoch
-- Returns {orders, more}: more is 1 where another call has something to do.
-- May run above maxmemory: whoever is promoted leaves the line.

local function promote(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local turn = begin_turn(keys, args[1], shard)
  local more = give_to_line(turn, item_of(turn, keys[3], keys[5]), keys[4])
  if #turn.runs > 0 then commit(turn, keys) end
  return {turn.orders, more and 1 or 0}
end

redis.register_function{
  function_name = 'sluice_promote_v1', callback = promote, flags = {'allow-oom'},
}
