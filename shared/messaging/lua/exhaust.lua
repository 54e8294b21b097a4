-- exhaust: empty rate-limit buckets for a time, because the broker said that it was too much.
--
-- KEYS  the buckets
-- ARGV  1 seconds until there is anything in them  then for each bucket: 1 capacity  2 refill a second
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for number, key in ipairs(KEYS) do
  local capacity, refill = tonumber(ARGV[2 * number]), tonumber(ARGV[2 * number + 1])
  local level = -refill * ARGV[1]
  local stored = redis.call('GET', key)
  if stored then
    -- A longer ban that is known already stands.
    local before, then_ms = string.match(stored, '^(%S+) (%S+)$')
    level = math.min(level, tonumber(before) + math.max(0, now_ms - then_ms) * refill / 1000)
  end
  local full_in_ms = math.ceil((capacity - level) / refill * 1000) + 1000
  redis.call('SET', key, string.format('%.6f %.0f', level, now_ms), 'PX', full_in_ms)
end
return 1
