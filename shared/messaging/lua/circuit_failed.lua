-- circuit_failed: count a request that had no answer; open the circuit after enough of them in a row.
--
-- KEYS  1 circuit
-- ARGV  1 account  2 error text  3 failures that open it  4 a failure counts for, ms  5 first distance of probes, ms
-- Returns {1 open or 0 closed, ms until the next probe}.
local circuit = KEYS[1]
local account, error_text = ARGV[1], ARGV[2]
local opening_failures, counts_for_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local first_distance_ms = ARGV[5]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- `who` is the account that failed, or '*' after failures of several accounts.
local open, failures, last_ms, who = unpack(redis.call('HMGET', circuit, 'open', 'failures', 'failed_ms', 'who'))
redis.call('HSET', circuit, 'error', error_text, 'failed_ms', string.format('%.0f', now_ms))
if open == '1' then
  return { 1, math.max(0, redis.call('HGET', circuit, 'probe_ms') - now_ms) }
end
failures = tonumber(failures or '0')
if last_ms and now_ms - last_ms > counts_for_ms then failures = 0 end
if failures == 0 then
  who = account
elseif who ~= account then
  who = '*'
end
redis.call('HSET', circuit, 'failures', failures + 1, 'who', who)
-- Failures of one account only are the trouble of that account, and never open the circuit.
if failures + 1 < opening_failures or who ~= '*' then return { 0, 0 } end
redis.call('HSET', circuit, 'open', 1, 'opened_ms', string.format('%.0f', now_ms), 'distance_ms', first_distance_ms,
  'probe_ms', string.format('%.0f', now_ms + first_distance_ms))
return { 1, tonumber(first_distance_ms) }
