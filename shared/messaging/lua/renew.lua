-- renew: extend the leases that a worker still holds.
--
-- KEYS  1 leases  2 fences
-- ARGV  1 lease, ms, then follower and fencing number of each
-- Returns the followers whose lease is lost.
local time = redis.call('TIME')
local expiry_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lost = {}
for i = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then
    redis.call('ZADD', KEYS[1], 'XX', expiry_ms, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
