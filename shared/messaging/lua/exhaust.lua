-- exhaust: empty rate-limit buckets for a time, because the broker refused requests as too many.
--
-- KEYS  the buckets
-- ARGV  1 seconds until the buckets hold anything, then for each bucket: capacity, refill per second
-- Returns 1.
local seconds = ARGV[1]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for number, bucket in ipairs(KEYS) do
  local capacity, refill = tonumber(ARGV[2 * number]), tonumber(ARGV[2 * number + 1])
  local level = -refill * seconds
  local stored = redis.call('GET', bucket)
  if stored then
    -- A longer ban that is already known stays.
    local before, then_ms = string.match(stored, '^(%S+) (%S+)$')
    level = math.min(level, tonumber(before) + math.max(0, now_ms - then_ms) * refill / 1000)
  end
  local full_in_ms = math.ceil((capacity - level) / refill * 1000) + 1000
  redis.call('SET', bucket, string.format('%.6f %.0f', level, now_ms), 'PX', full_in_ms)
end
return 1
