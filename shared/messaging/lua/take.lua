-- take: take units out of rate-limit buckets that refill steadily, all or a part of what is wanted.
-- A call whose reply was lost has taken units that nobody uses: too careful, never too much.
--
-- KEYS  the buckets, each `level time_ms`; missing: full
-- ARGV  for each bucket: 1 capacity  2 refill a second  3 wanted  4 the least that is of any use
--       5 more, where there is that much  6 what must be left
-- Returns for each bucket: units granted, and what was there for the taking before (may be below 0), as text.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for number, key in ipairs(KEYS) do
  local at = (number - 1) * 6
  local capacity, refill = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local wanted, least, more = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local level = capacity
  local stored = redis.call('GET', key)
  if stored then
    local before, then_ms = string.match(stored, '^(%S+) (%S+)$')
    level = math.min(capacity, tonumber(before) + math.max(0, now_ms - then_ms) * refill / 1000)
  end
  local free = level - ARGV[at + 6]
  local granted = 0
  if free >= least then granted = math.min(free, wanted + more) end
  if granted > 0 then
    level = level - granted
    local full_in_ms = math.ceil((capacity - level) / refill * 1000) + 1000
    redis.call('SET', key, string.format('%.6f %.0f', level, now_ms), 'PX', full_in_ms)
  end
  reply[2 * number - 1] = string.format('%.6f', granted)
  reply[2 * number] = string.format('%.6f', free)
end
return reply
