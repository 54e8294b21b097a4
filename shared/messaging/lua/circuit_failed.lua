-- circuit_failed: count a request that had no answer; open the circuit when there were enough in a row.
--
-- KEYS  1 circuit
-- ARGV  1 account  2 what went wrong  3 failures that open it  4 they count for, ms  5 first distance of probes, ms
-- Returns {1 open or 0 closed, ms until the next probe}.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local open, failures, last_ms, who = unpack(redis.call('HMGET', KEYS[1], 'open', 'failures', 'failed_ms', 'who'))
redis.call('HSET', KEYS[1], 'error', ARGV[2], 'failed_ms', string.format('%.0f', now_ms))
if open == '1' then
  return { 1, math.max(0, redis.call('HGET', KEYS[1], 'probe_ms') - now_ms) }
end
failures = tonumber(failures or '0')
if last_ms and now_ms - last_ms > tonumber(ARGV[4]) then failures = 0 end
if failures == 0 then
  who = ARGV[1]
elseif who ~= ARGV[1] then
  who = '*'
end
redis.call('HSET', KEYS[1], 'failures', failures + 1, 'who', who)
-- One account in trouble is that account's trouble.
if failures + 1 < tonumber(ARGV[3]) or who ~= '*' then return { 0, 0 } end
redis.call('HSET', KEYS[1], 'open', 1, 'opened_ms', string.format('%.0f', now_ms), 'distance_ms', ARGV[5],
  'probe_ms', string.format('%.0f', now_ms + ARGV[5]))
return { 1, tonumber(ARGV[5]) }
