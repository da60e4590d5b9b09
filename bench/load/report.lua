-- What every script ends with: one line of JSON on stdout, times in microseconds.

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function done(summary, latency, _)
  local asked = 0
  for _, thread in ipairs(threads) do asked = asked + (thread:get('asked') or 0) end
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers":%d,"duration_us":%d,"asked":%d,"refused":%d,"socket_errors":%d,'
      .. '"p50_us":%d,"p99_us":%d,"p999_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, asked, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
