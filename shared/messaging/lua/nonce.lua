-- nonce: reserve successive nonces for an API key, never below the clock and never twice.
--
-- KEYS  1 newest nonce of the key
-- ARGV  1 how many
-- Returns the first of them as text, in microseconds since 1970 or later.
local newest_nonce = KEYS[1]
local how_many = ARGV[1]

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local first = math.max(tonumber(redis.call('GET', newest_nonce) or '0') + 1, now_us)
redis.call('SET', newest_nonce, string.format('%.0f', first + how_many - 1))
return string.format('%.0f', first)
