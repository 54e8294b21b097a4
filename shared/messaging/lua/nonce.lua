-- nonce: reserve successive nonces for an API key: never below the clock, never below a floor, and never twice.
--
-- KEYS  1 newest nonce of the key
-- ARGV  1 how many  2 floor: every nonce is above it, a decimal number
-- Returns the last of them as text, in nanoseconds since 1970 or later.
--
-- A nonce has 19 digits, and a number of Lua is exact up to 16. So nonces are compared as text and added by Redis, which
-- counts in exact 64-bit integers.
local newest_nonce = KEYS[1]
local how_many, floor = ARGV[1], ARGV[2]

-- Whether the decimal number `a` is above `b`. Neither has a leading zero.
local function is_above(a, b)
  if #a ~= #b then
    return #a > #b
  end
  return a > b
end

local time = redis.call('TIME')
local newest = redis.call('GET', newest_nonce) or '0'
for _, lowest in ipairs({ time[1] .. string.format('%06d', time[2]) .. '000', floor }) do
  if is_above(lowest, newest) then
    newest = lowest
    redis.call('SET', newest_nonce, newest)
  end
end
redis.call('INCRBY', newest_nonce, how_many)
return redis.call('GET', newest_nonce)
