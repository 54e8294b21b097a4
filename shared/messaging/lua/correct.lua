-- correct: change rate-limit buckets after the fact. Give back units that were taken and not needed, or count units that
-- the broker has taken already. If the call is lost, the buckets refill what is missing. Do not call it twice.
--
-- KEYS  the buckets; each holds `level time_ms`, and a missing one is full
-- ARGV  for each bucket: 1 capacity  2 refill per second  3 units, above 0 to give back, below 0 to count
-- Returns 1.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for number, bucket in ipairs(KEYS) do
  local at = (number - 1) * 3
  local capacity, refill, units = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local level = capacity
  local stored = redis.call('GET', bucket)
  if stored then
    local before, then_ms = string.match(stored, '^(%S+) (%S+)$')
    level = math.min(capacity, tonumber(before) + math.max(0, now_ms - then_ms) * refill / 1000)
  end
  -- Below 0 a ban stands. Units that were taken before it must not shorten it.
  if units < 0 or level >= 0 then
    level = math.min(capacity, level + units)
    local full_in_ms = math.ceil((capacity - level) / refill * 1000) + 1000
    redis.call('SET', bucket, string.format('%.6f %.0f', level, now_ms), 'PX', full_in_ms)
  end
end
return 1
