-- reserve: decide a batch of attempts in one atomic step.
--
-- KEYS  shard, stream, then for each item of the batch: item, attempts, holders, line
-- ARGV  epoch, then one packed attempt each:
--         1-12 nonce | 13-28 buyer digest | 29 item's place among KEYS, from 1 | 30 quantity |
--         31 flags (1: the pass has expired and may only replay) | 32-35 publication | 36- buyer
-- Returns {now in ms, counter of the log entry or 0, decisions}: 14 bytes a decision, in order:
--         outcome (1) | order number (8; 0 where there is none) | quantity (1) | slot mask (4)
-- All reading and deciding comes before the first write: Lua does not roll back.

local DECISION_TAIL = '>BI4'
local NO_ORDER = '\0\0\0\0\0\0\0\0\0\0\0\0\0'

-- Refusals are the same bytes every time. Made when first needed: while the library loads, Lua's
-- own string functions are not there yet.
local refusals = {}
local function refusal(outcome)
  local packed = refusals[outcome]
  if not packed then
    packed = string.char(outcome) .. NO_ORDER
    refusals[outcome] = packed
  end
  return packed
end

local function read_items(keys, now)
  local items = {}
  for i = 3, #keys, 4 do
    local f = redis.call('HMGET', keys[i], 'state', 'available', 'held', 'starts', 'ends',
      'limit', 'publication', 'waits')
    local item = {
      key = keys[i], attempts = keys[i + 1], holders = keys[i + 2],
      id = tonumber(string.match(keys[i], '%d+$')), state = f[1],
      available = tonumber(f[2]), held = tonumber(f[3]), starts = tonumber(f[4]),
      ends = tonumber(f[5]), limit = tonumber(f[6]), publication = tonumber(f[7]),
      waits = tonumber(f[8]) or 0, taken = 0,
    }
    -- Units that a line has not been given yet: nobody may overtake those who wait.
    item.spoken_for = f[1] and item.available > 0 and line_moves(item, now)
      and redis.call('ZCARD', keys[i + 3]) > 0
    items[#items + 1] = item
  end
  return items
end

-- Two HMGET a limit group: what these nonces and these buyers hold already.
local function read_groups(items, args)
  local groups = {}
  for i = 2, #args do
    local item = items[string.byte(args[i], 29)]
    local group = groups[item.attempts]
    if not group then
      group = {attempts = item.attempts, holders = item.holders, nonces = {}, digests = {},
        prior = {}, holds = {}, new_attempts = {}, new_holds = {}}
      groups[item.attempts] = group
    end
    item.group = group
    group.nonces[#group.nonces + 1] = string.sub(args[i], 1, 12)
    group.digests[#group.digests + 1] = string.sub(args[i], 13, 28)
  end
  for _, group in pairs(groups) do
    local prior = redis.call('HMGET', group.attempts, unpack(group.nonces))
    local holds = redis.call('HMGET', group.holders, unpack(group.digests))
    for i = 1, #group.nonces do
      group.prior[group.nonces[i]] = prior[i]
      group.holds[group.digests[i]] = holds[i]
    end
  end
  return groups
end

-- Why the item cannot be bought now by anyone, or nil.
local function closed_by(item, now, publication, expired)
  if not item.state then return OUTCOME.UNKNOWN_ITEM end
  if expired or publication ~= item.publication then return OUTCOME.BAD_PASS end
  if item.state == 'loaded' then return OUTCOME.NOT_ARMED end
  if item.state == 'closed' or now >= item.ends then return OUTCOME.ENDED end
  if now < item.starts then return OUTCOME.NOT_STARTED end
  if item.state == 'paused' then return OUTCOME.PAUSED end
  return nil
end

local function refuse_all(now, count, outcome)
  return {now, 0, string.rep(refusal(outcome), count)}
end

local function reserve(keys, args)
  local now, count = now_ms(), #args - 1
  if not is_armed(keys[1], args[1], now) then
    return refuse_all(now, count, OUTCOME.NOT_ARMED)
  end
  local shard = shard_of(keys[1], args[1])
  if not shard then return refuse_all(now, count, OUTCOME.NOT_ARMED) end

  local items = read_items(keys, now)
  local groups = read_groups(items, args)
  wind(shard, now)
  local decisions, logged = {}, {}

  for i = 2, #args do
    local attempt = args[i]
    local nonce, digest = string.sub(attempt, 1, 12), string.sub(attempt, 13, 28)
    local place, quantity, flags = string.byte(attempt, 29, 31)
    local item = items[place]
    local group = item.group
    local prior = group.prior[nonce]
    local decision
    if prior then
      if string.byte(prior, 9) == quantity then
        decision = string.char(OUTCOME.REPLAYED) .. string.sub(prior, 1, 8)
          .. struct.pack(DECISION_TAIL, quantity, 0)
      else
        decision = refusal(OUTCOME.OTHER_QUANTITY)
      end
    else
      local publication = struct.unpack('>I4', attempt, 32)
      local closed = closed_by(item, now, publication, flags == 1)
      if closed then
        decision = refusal(closed)
      else
        local holds = group.holds[digest]
        local slots = free_slots(holds, item.limit, quantity)
        if not slots then
          decision = refusal(OUTCOME.LIMIT_REACHED)
          if holds then
            decision = string.char(OUTCOME.LIMIT_REACHED) .. string.sub(holds, 1, 8)
              .. struct.pack(DECISION_TAIL, 0, 0)
          end
        elseif item.spoken_for or item.available < quantity then
          decision = refusal(OUTCOME.SOLD_OUT)
        else
          local number = mint(shard)
          local tail = struct.pack(DECISION_TAIL, quantity, slots)
          decision = string.char(OUTCOME.ACCEPTED) .. number .. tail
          item.available = item.available - quantity
          item.held = item.held + quantity
          item.taken = item.taken + quantity
          local record = number .. string.char(quantity)
          local hold = (holds or '') .. number .. struct.pack(HOLD, slots, item.id)
          group.prior[nonce], group.holds[digest] = record, hold
          group.new_attempts[#group.new_attempts + 1] = nonce
          group.new_attempts[#group.new_attempts + 1] = record
          group.new_holds[#group.new_holds + 1] = digest
          group.new_holds[#group.new_holds + 1] = hold
          local buyer = string.sub(attempt, 36)
          logged[#logged + 1] = number .. tail .. string.char(place) .. nonce
            .. struct.pack('>I2', #buyer) .. buyer
        end
      end
    end
    decisions[#decisions + 1] = decision
  end

  if #logged == 0 then return {now, 0, table.concat(decisions)} end

  local counter = shard.counter + 1
  local names = {}
  for i, item in ipairs(items) do names[i] = string.format('%.0f', item.id) end
  log(keys[2], counter, 'a', table.concat(names, ',') .. ';' .. table.concat(logged))
  redis.call('HSET', keys[1], 'second', shard.second, 'sequence', shard.sequence,
    'counter', counter)
  for _, item in ipairs(items) do
    if item.taken > 0 then
      redis.call('HSET', item.key, 'available', item.available, 'held', item.held)
    end
  end
  for _, group in pairs(groups) do
    if #group.new_attempts > 0 then
      redis.call('HSET', group.attempts, unpack(group.new_attempts))
      redis.call('HSET', group.holders, unpack(group.new_holds))
    end
  end
  return {now, counter, table.concat(decisions)}
end

redis.register_function('sluice_reserve_v2', reserve)
