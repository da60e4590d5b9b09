-- Adds what one process counted in its last second to the cells of that second.
--
-- KEYS[1]  what no worker has stored yet: a sorted set, cell → its second
-- KEYS[2…] the cells, each a hash: name → count, and `n`: how many counts were added in all
-- ARGV[1]  the second
-- ARGV[2]  how long a cell is kept, in seconds
-- ARGV[3]  how many cells may wait for a worker; of more the oldest are forgotten
-- ARGV[4…] for each cell: its counts as a JSON object
-- Returns  how many cells were forgotten

local new = KEYS[1]
for at = 2, #KEYS do
  local cell, n = KEYS[at], 0
  for name, count in pairs(cjson.decode(ARGV[at + 2])) do
    redis.call('HINCRBY', cell, name, count)
    n = n + count
  end
  redis.call('HINCRBY', cell, 'n', n)
  redis.call('EXPIRE', cell, ARGV[2])
  redis.call('ZADD', new, ARGV[1], cell)
end
redis.call('EXPIRE', new, ARGV[2])

local over = redis.call('ZCARD', new) - tonumber(ARGV[3])
if over <= 0 then return 0 end
local oldest = redis.call('ZPOPMIN', new, over)
for at = 1, #oldest, 2 do redis.call('DEL', oldest[at]) end
return over
