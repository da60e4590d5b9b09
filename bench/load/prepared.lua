-- Sends prepared requests, one after the other, and starts anew at the end of the file.
--
-- wrk -s prepared.lua URL -- FILE WIDTH
-- FILE holds whole requests of WIDTH bytes each, as wrk.format would make them. Cutting one out of
-- the file costs this single thread less than putting one together.
dofile(debug.getinfo(1, 'S').source:match('^@(.*/)') .. 'report.lua')

local data, width, at
asked = 0 -- global: report.lua reads it from this thread

function init(args)
  local file = assert(io.open(args[1], 'rb'))
  data, width, at = file:read('*a'), tonumber(args[2]), 0
  file:close()
  assert(#data > 0 and #data % width == 0, 'the file must hold whole requests')
end

function request()
  if at >= #data then at = 0 end
  at = at + width
  asked = asked + 1
  return string.sub(data, at - width + 1, at)
end
