-- What every function of the library shares. OUTCOME and WAIT are put before this text by library.py.
--
-- Armed state lives here and nowhere else: in the memory of this loaded library. It survives calls
-- and is gone after a restart, a failover or a reload, so a gate without memory refuses by itself.
local armed = {}  -- shard key -> {epoch = text, until_ms = number}

local NUMBER = '>I4I4'          -- seconds since the project's epoch; shard (8 bits) and sequence (24)
local SEQUENCE_MAX = 16777215   -- 2^24 - 1
local SHARD_STEP = 16777216     -- 2^24
local EPOCH_S = 1767225600      -- 2026-01-01T00:00:00Z, as domain/number.py
local HOLD = '>I4I4'            -- after the order number (8): slot mask, item id
local HOLD_BYTES = 16
local NO_NUMBER = '\0\0\0\0\0\0\0\0'

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function number_at(second, shard, sequence)
  return struct.pack(NUMBER, second, shard * SHARD_STEP + sequence)
end

-- The shard's clock, which never goes back, moved on to `now`.
local function wind(shard, now)
  local second = math.floor(now / 1000) - EPOCH_S
  if second > shard.second then shard.second, shard.sequence = second, 0 end
end

-- The next number. It is in the caller's memory of the shard only, until the caller writes that.
local function mint(shard)
  if shard.sequence == SEQUENCE_MAX then
    shard.second, shard.sequence = shard.second + 1, 0
  end
  shard.sequence = shard.sequence + 1
  return number_at(shard.second, shard.shard, shard.sequence)
end

local function count_bits(mask)
  local count = 0
  while mask > 0 do
    if mask % 2 == 1 then count = count + 1 end
    mask = math.floor(mask / 2)
  end
  return count
end

-- The shard's memory, or nil where it is gone or belongs to another epoch.
local function shard_of(key, epoch)
  local s = redis.call('HMGET', key, 'epoch', 'shard', 'second', 'sequence', 'counter', 'base')
  if not s[1] or s[1] ~= epoch then return nil end
  return {
    shard = tonumber(s[2]), second = tonumber(s[3]),
    sequence = tonumber(s[4]), counter = tonumber(s[5]), base = tonumber(s[6]) or 0,
  }
end

-- Whether numbers may be minted: nothing is accepted by a gate that is not armed.
local function is_armed(key, epoch, now)
  local lease = armed[key]
  return lease and lease.epoch == epoch and now < lease.until_ms
end

-- The lowest free slots for `quantity` units, or nil where the limit does not leave so many.
local function free_slots(holds, limit, quantity)
  local used = 0
  if holds then
    for at = 1, #holds, HOLD_BYTES do
      used = used + struct.unpack('>I4', holds, at + 8)
    end
  end
  local mask, bit_value = 0, 1
  for _ = 1, limit do
    if quantity == 0 then break end
    if math.floor(used / bit_value) % 2 == 0 then
      mask = mask + bit_value
      quantity = quantity - 1
    end
    bit_value = bit_value * 2
  end
  if quantity > 0 then return nil end
  return mask
end

-- Number of the first hold of this item among a buyer's holds, or nil.
local function holds_item(holds, item_id)
  for at = 1, #holds, HOLD_BYTES do
    if struct.unpack('>I4', holds, at + 12) == item_id then
      return string.sub(holds, at, at + 7)
    end
  end
  return nil
end

-- Always the first write of a function: it is the one that can still fail (a key of another type, a
-- stream that is ahead of the counter), and what is not in the log must not have happened.
local function log(stream, counter, kind, data)
  redis.call('XADD', stream, string.format('%.0f-0', counter), 'k', kind, 'd', data)
end

local function lost(key)
  return redis.error_reply('LOSTEPOCH ' .. key .. ' does not hold the epoch that was asked for')
end
