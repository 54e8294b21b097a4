-- take: take units out of rate-limit buckets that refill steadily, all or a part of what is wanted.
-- If the reply is lost, the units are counted and never sent. That is too careful, and never too much.
--
-- KEYS  the buckets; each holds `level time_ms`, and a missing one is full
-- ARGV  for each bucket: 1 capacity  2 refill per second  3 wanted  4 least amount that is of any use
--       5 extra amount, where there is that much  6 amount that must be left
-- Returns for each bucket, as text: units granted, and units that were available before (may be below 0).
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for number, bucket in ipairs(KEYS) do
  local at = (number - 1) * 6
  local capacity, refill = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local wanted, least, extra = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local to_be_left = ARGV[at + 6]
  local level = capacity
  local stored = redis.call('GET', bucket)
  if stored then
    local before, then_ms = string.match(stored, '^(%S+) (%S+)$')
    level = math.min(capacity, tonumber(before) + math.max(0, now_ms - then_ms) * refill / 1000)
  end
  local available = level - to_be_left
  local granted = 0
  if available >= least then granted = math.min(available, wanted + extra) end
  if granted > 0 then
    level = level - granted
    local full_in_ms = math.ceil((capacity - level) / refill * 1000) + 1000
    redis.call('SET', bucket, string.format('%.6f %.0f', level, now_ms), 'PX', full_in_ms)
  end
  reply[2 * number - 1] = string.format('%.6f', granted)
  reply[2 * number] = string.format('%.6f', available)
end
return reply
