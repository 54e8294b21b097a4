-- sign: write the sign of life of one process of a stage, and forget processes that have given none for long.
-- Called by every stage every 2 s, and once when a process starts, fails to start, or ends.
--
-- KEYS  1 stage-signs  2 stages
-- ARGV  1 process  2 its StageRecord  3 forget after, ms
-- Returns how many processes were forgotten.
local signs, stages = KEYS[1], KEYS[2]
local process, record, kept_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', signs, now_ms, process)
redis.call('HSET', stages, process, record)

local old = redis.call('ZRANGEBYSCORE', signs, '-inf', now_ms - kept_ms, 'LIMIT', 0, 100)
for _, each in ipairs(old) do
  redis.call('ZREM', signs, each)
  redis.call('HDEL', stages, each)
end
return #old
