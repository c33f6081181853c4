-- wrk … -s load.lua URL -- get|list|post ROWS [TOKEN]
-- The requests of the programs that the kernel is measured beside, with a bearer token where one is given.
local what, rows
local bare, typed = {}, { ["content-type"] = "application/json" }

function init(args)
  what, rows = args[1], tonumber(args[2])
  if args[3] then
    bare["authorization"] = "Bearer " .. args[3]
    typed["authorization"] = bare["authorization"]
  end
  math.randomseed(os.time())
end

function request()
  local i = math.random(0, rows - 1)
  if what == "get" then
    return wrk.format("GET", string.format("/w/00000000-0000-7000-8000-%012x", i), bare)
  elseif what == "list" then
    return wrk.format("GET", "/w?owner_id=owner-" .. (i % (rows / 100)), bare)
  end
  local widget = '{"owner_id":"new-%d","name":"widget %d","color":"blue","size":%d,"weight":1.25}'
  return wrk.format("POST", "/w", typed, string.format(widget, i % 1000, i, i % 1000))
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"us":%d,"p50_us":%d,"p99_us":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
