-- Marks challenges as answered, each at most once.
--
-- KEYS     one for each challenge; the same one may be there twice
-- ARGV     for each of them, for how many ms it must be remembered
-- Returns  a string of as many characters: 1 where nobody had answered it before, else 0

local answer = {}
for place, key in ipairs(KEYS) do
  local marked = redis.call('SET', key, '', 'NX', 'PX', ARGV[place])
  answer[place] = marked and '1' or '0'
end
return table.concat(answer)
