-- edit: apply one stock edit of an item. Edits go in order of their number, each once. What an
-- increase brings goes to whoever waits for it, in the same step, and else on sale.
--
-- KEYS  shard, stream, item, holders, line
-- ARGV  epoch, item id, edit number, delta
-- Returns {result, stock, available, more}
-- Results are applied, refused (the units are held or sold), repeated, early (one before it is
-- missing) and unknown_item. More is 1 where units are left for which others still wait.

local function edit(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local f = redis.call('HMGET', keys[3], 'edit', 'stock', 'available')
  if not f[1] then return {'unknown_item', 0, 0, 0} end
  local last, stock, available = tonumber(f[1]), tonumber(f[2]), tonumber(f[3])
  local number, delta = tonumber(args[3]), tonumber(args[4])
  if number <= last then return {'repeated', stock, available, 0} end
  if number > last + 1 then return {'early', stock, available, 0} end

  local applied = available + delta >= 0
  local turn, more = begin_turn(keys, args[1], shard), false
  note(turn, 'e', table.concat({args[2], args[3], args[4], applied and '1' or '0'}, ','))
  if applied then
    local item = item_of(turn, keys[3], keys[5])
    item.available = item.available + delta
    more = give_to_line(turn, item, keys[4])
    stock, available = stock + delta, item.available
  end
  commit(turn, keys)
  redis.call('HSET', keys[3], 'edit', number, 'stock', stock)
  return {applied and 'applied' or 'refused', stock, available, more and 1 or 0}
end

redis.register_function('sluice_edit_v2', edit)
