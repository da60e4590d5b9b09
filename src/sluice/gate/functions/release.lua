-- release: give the units of holds back, in the same step to whoever waits for them, and else on
-- sale. Idempotent: a hold that is not there is left alone.
--
-- KEYS  shard, stream, then for each hold: item, holders, line
-- ARGV  epoch, then one packed hold each:
--         1-8 order number | 9-24 buyer digest
-- Returns one number a hold: 0 where there was none, 1 where it was released now, 2 where it was and
-- units of its item are left for which others still wait (see promote).
-- May run above maxmemory: it frees.

-- Takes the hold out of its holder's records; its slots, or nil where it is not among them.
local function take_hold(holder, number, item_id)
  for at = 1, #holder.records, HOLD_BYTES do
    if string.sub(holder.records, at, at + 7) == number then
      local slots, of_item = struct.unpack(HOLD, holder.records, at + 8)
      assert(of_item == item_id)
      holder.records = string.sub(holder.records, 1, at - 1)
        .. string.sub(holder.records, at + HOLD_BYTES)
      holder.changed = true
      return slots
    end
  end
  return nil
end

local function release(keys, args)
  local shard = shard_of(keys[1], args[1])
  if not shard then return lost(keys[1]) end
  local turn = begin_turn(keys, args[1], shard)
  local answers, freed = {}, {}
  for i = 2, #args do
    local item_key, holders_key, line_key = keys[3 * i - 3], keys[3 * i - 2], keys[3 * i - 1]
    local number, digest = string.sub(args[i], 1, 8), string.sub(args[i], 9, 24)
    local holder = holder_of(turn, holders_key, digest)
    local slots = take_hold(holder, number, item_id_of(item_key))
    answers[i - 1] = 0
    if slots then
      local units = count_bits(slots)
      local item = item_of(turn, item_key, line_key)
      item.available, item.held = item.available + units, item.held - units
      note(turn, 'r', number .. struct.pack('>BI4', units, item.id))
      freed[#freed + 1] = {answer = i - 1, item = item, holders = holders_key}
    end
  end
  for _, one in ipairs(freed) do
    answers[one.answer] = give_to_line(turn, one.item, one.holders) and 2 or 1
  end
  if #freed > 0 then commit(turn, keys) end
  return answers
end

redis.register_function{
  function_name = 'sluice_release_v2', callback = release, flags = {'allow-oom'},
}
