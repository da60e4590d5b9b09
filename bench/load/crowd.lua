-- A crowd: each connection is somebody who sends a prepared request, waits for the answer, thinks,
-- and goes on with the next one; whoever is told to come again later does, or does not care.
--
-- wrk -s crowd.lua URL -- FILE WIDTH THINK_MS POLITE
-- FILE and WIDTH as in prepared.lua. THINK_MS: mean of exponential pauses. POLITE: 1 to wait for as
-- long as Retry-After says, 0 not to.
--
-- wrk does not say whose answer it is that came. It asks for the pauses in about the order in which
-- the answers came, so they are handed out in that order: perhaps to somebody else, but as many.
dofile(debug.getinfo(1, 'S').source:match('^@(.*/)') .. 'report.lua')

local data, width, at, think_ms, polite
local pauses, first, last = {}, 1, 0
asked = 0 -- global: report.lua reads it from this thread

function init(args)
  local file = assert(io.open(args[1], 'rb'))
  data, width, at = file:read('*a'), tonumber(args[2]), 0
  file:close()
  think_ms, polite = tonumber(args[3]), args[4] == '1'
  assert(#data > 0 and #data % width == 0, 'the file must hold whole requests')
  math.randomseed(7)
end

local function thought_ms()
  return -math.log(1 - math.random()) * think_ms
end

function delay()
  if first > last then return math.floor(math.random() * think_ms * 4) end -- they come one by one
  local pause = pauses[first]
  pauses[first], first = nil, first + 1
  return pause
end

function request()
  if at >= #data then at = 0 end
  at = at + width
  asked = asked + 1
  return string.sub(data, at - width + 1, at)
end

function response(status, headers)
  local pause = thought_ms()
  if polite and status == 503 then
    pause = pause + 1000 * tonumber(headers['retry-after'] or headers['Retry-After'] or 1)
  end
  last = last + 1
  pauses[last] = math.floor(pause)
end
