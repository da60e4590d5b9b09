-- Tries a log-in code. Every call is a try, and the right code counts once.
--
-- KEYS[1]  the code: a hash with its mac and the number of tries
-- ARGV[1]  the mac of what was typed
-- ARGV[2]  how many tries a code has
-- Returns  1 where it is the code, which is then gone; else 0

local kept = redis.call('HGET', KEYS[1], 'mac')
if not kept then return 0 end

local tries = redis.call('HINCRBY', KEYS[1], 'tries', 1)
local right = kept == ARGV[1] and tries <= tonumber(ARGV[2])
if right or tries >= tonumber(ARGV[2]) then redis.call('DEL', KEYS[1]) end
return right and 1 or 0
