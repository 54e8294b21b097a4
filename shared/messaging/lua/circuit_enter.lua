-- circuit_enter: report whether the circuit is open; if a probe is due, give it to the caller.
-- A lost reply loses one probe: the next one is due a distance later.
--
-- KEYS  1 circuit
-- ARGV  1 longest distance of probes, ms
-- Returns {1 open or 0 closed, ms until the next probe (0 = the caller sends it now), failures so far}.
local circuit = KEYS[1]
local longest_distance_ms = tonumber(ARGV[1])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local open, probe_ms, distance_ms, failures =
  unpack(redis.call('HMGET', circuit, 'open', 'probe_ms', 'distance_ms', 'failures'))
if open ~= '1' then return { 0, 0, tonumber(failures or '0') } end
if now_ms < tonumber(probe_ms) then return { 1, probe_ms - now_ms, tonumber(failures) } end
redis.call('HSET', circuit, 'probe_ms', string.format('%.0f', now_ms + distance_ms),
  'distance_ms', math.min(distance_ms * 2, longest_distance_ms))
return { 1, 0, tonumber(failures) }
