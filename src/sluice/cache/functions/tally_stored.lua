-- Notes that cells are in the ledger, unless something was added to them meanwhile.
--
-- KEYS[1]  what no worker has stored yet: a sorted set, cell → its second
-- KEYS[2…] the cells
-- ARGV[1…] for each cell: the `n` that was stored
-- Returns  how many have nothing new
--
-- The cells stay until they expire: whatever a late process adds is then stored with the rest.

local done = 0
for at = 2, #KEYS do
  if redis.call('HGET', KEYS[at], 'n') == ARGV[at - 1] then
    done = done + redis.call('ZREM', KEYS[1], KEYS[at])
  end
end
return done
