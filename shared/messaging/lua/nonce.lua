-- nonce: reserve successive nonces for an API key, never below the clock and never twice.
--
-- KEYS  1 nonce of the key
-- ARGV  1 how many
-- Returns the first of them, in microseconds since 1970 or later, as text.
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local first = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') + 1, now_us)
redis.call('SET', KEYS[1], string.format('%.0f', first + ARGV[1] - 1))
return string.format('%.0f', first)
