-- Tells how loaded one process is, and reads how loaded all of them are.
--
-- KEYS[1]  a hash: process → when it told, in ms of this server's clock, and what, with a blank
-- ARGV[1]  how long what was told counts, in ms
-- ARGV[2]  how many processes are kept at most
-- ARGV[3]  which process tells something, or nothing: one only reads
-- ARGV[4]  what it tells
-- Returns  what counts, as pairs: process, what it told

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local life, most = tonumber(ARGV[1]), tonumber(ARGV[2])

local told = redis.call('HGETALL', KEYS[1])
local fresh, old, known = {}, {}, false
for at = 1, #told, 2 do
  local when, what = string.match(told[at + 1], '^(%d+) (.*)$')
  if told[at] == ARGV[3] then
    known = true
  elseif when and now - tonumber(when) < life then
    fresh[#fresh + 1] = told[at]
    fresh[#fresh + 1] = what
  else
    old[#old + 1] = told[at]
  end
end

if #old > 0 then redis.call('HDEL', KEYS[1], unpack(old, 1, math.min(#old, 1000))) end
if ARGV[3] and (known or #fresh / 2 < most) then
  redis.call('HSET', KEYS[1], ARGV[3], string.format('%.0f ', now) .. ARGV[4])
  redis.call('PEXPIRE', KEYS[1], life)
  fresh[#fresh + 1] = ARGV[3]
  fresh[#fresh + 1] = ARGV[4]
end
return fresh
