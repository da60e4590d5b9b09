-- Takes from counters for a whole batch of requests: each takes from all of its counters or none.
--
-- KEYS     the counters, each one once
-- ARGV[1]  the rules, packed: for each >III kind, quota, window in ms
-- ARGV[2]  the requests, packed: for each >I number of checks, then for each check
--          >III place of its key in KEYS, place of its rule, units
-- Returns  one packed string: for each request >iI the check that refused (from 0; -1: none) and
--          after how many ms to retry, then for each check >II what is left and ms until all is back
--
-- counter of a window  >dIIIIIII  the slice (window / 6) it was last moved to, then what was taken
--                      in that slice and in the six before it
-- counter of a bucket  >d         when, in ms, the bucket will be full again
--
-- All checks of a request come before its writes; the counters are kept in locals until the end,
-- so that requests of one batch see each other.

local WINDOW = 0
local SLICES = 6

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local rules, at = {}, 1
while at <= #ARGV[1] do
  local kind, quota, window
  kind, quota, window, at = struct.unpack('>III', ARGV[1], at)
  rules[#rules + 1] = { kind = kind, quota = quota, window = window }
end

local stored = redis.call('MGET', unpack(KEYS))
local counters, lifetimes = {}, {}

local function window_of(place, rule)
  local counter = counters[place]
  if counter then return counter end
  local slice = rule.window / SLICES
  local current = math.floor(now / slice)
  counter = { current, 0, 0, 0, 0, 0, 0, 0 }
  local text = stored[place]
  if text and #text == 36 then
    local before = { struct.unpack('>dIIIIIII', text) }
    local moved = current - before[1]
    if moved < 0 then moved, counter[1] = 0, before[1] end
    for age = 0, SLICES - moved do
      counter[2 + age + moved] = before[2 + age]
    end
  end
  counters[place] = counter
  return counter
end

-- What counts in the window now: the oldest slice leaves it evenly.
local function taken_of(counter, slice)
  local left_of_oldest = 1 - (now - counter[1] * slice) / slice
  if left_of_oldest < 0 then left_of_oldest = 0 end
  local taken = counter[8] * left_of_oldest
  for age = 0, SLICES - 1 do taken = taken + counter[2 + age] end
  return taken, left_of_oldest
end

-- How many ms until so many units have left the window.
local function wait_for(counter, slice, units, left_of_oldest)
  local leaving = counter[8] * left_of_oldest
  if units <= leaving then return units / counter[8] * slice end
  units = units - leaving
  local wait = slice * left_of_oldest
  for age = SLICES - 1, 0, -1 do
    local of_slice = counter[2 + age]
    if of_slice > 0 and units <= of_slice then return wait + units / of_slice * slice end
    units, wait = units - of_slice, wait + slice
  end
  return wait
end

-- Returns whether so many units can be taken, and if not, after how many ms they could.
local function allows(place, rule, units)
  if rule.kind == WINDOW then
    local slice = rule.window / SLICES
    local counter = window_of(place, rule)
    local taken, left_of_oldest = taken_of(counter, slice)
    local over = taken + units - rule.quota
    if over <= 0.000001 then return true, 0 end
    return false, math.ceil(wait_for(counter, slice, over, left_of_oldest))
  end
  local full_at = counters[place]
  if not full_at then
    local text = stored[place]
    full_at = now
    if text and #text == 8 then full_at = math.max(now, (struct.unpack('>d', text))) end
    counters[place] = full_at
  end
  local over = full_at + units * rule.window / rule.quota - now - rule.window
  if over <= 0.000001 then return true, 0 end
  return false, math.ceil(over)
end

local function take(place, rule, units)
  if rule.kind == WINDOW then
    counters[place][2] = counters[place][2] + units
  else
    counters[place] = counters[place] + units * rule.window / rule.quota
  end
  lifetimes[place] = rule
end

local function left_of(place, rule)
  if rule.kind == WINDOW then
    local taken = taken_of(counters[place], rule.window / SLICES)
    local reset = taken > 0 and rule.window or 0
    return math.max(0, math.floor(rule.quota - taken + 0.000001)), reset
  end
  local until_full = counters[place] - now
  local left = (rule.window - until_full) * rule.quota / rule.window
  return math.max(0, math.floor(left + 0.000001)), math.ceil(until_full)
end

local answer = {}
at = 1
while at <= #ARGV[2] do
  local count
  count, at = struct.unpack('>I', ARGV[2], at)
  local checks, refused, retry = {}, -1, 0
  for index = 1, count do
    local place, rule, units
    place, rule, units, at = struct.unpack('>III', ARGV[2], at)
    rule = rules[rule + 1]
    checks[index] = { place + 1, rule, units }
    local allowed, wait = allows(place + 1, rule, units)
    if not allowed and wait > retry then refused, retry = index - 1, wait end
  end
  if refused < 0 then
    for index = 1, count do take(unpack(checks[index])) end
  end
  answer[#answer + 1] = struct.pack('>iI', refused, retry)
  for index = 1, count do
    answer[#answer + 1] = struct.pack('>II', left_of(checks[index][1], checks[index][2]))
  end
end

for place, rule in pairs(lifetimes) do
  if rule.kind == WINDOW then
    local packed = struct.pack('>dIIIIIII', unpack(counters[place]))
    redis.call('SET', KEYS[place], packed, 'PX', math.ceil(rule.window * 7 / SLICES) + 1000)
  else
    local lifetime = math.max(1, math.ceil(counters[place] - now)) + 1000
    redis.call('SET', KEYS[place], struct.pack('>d', counters[place]), 'PX', lifetime)
  end
end

return table.concat(answer)
