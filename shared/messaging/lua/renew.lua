-- renew: extend the claims that a worker still holds.
--
-- KEYS  1 leases  2 fences
-- ARGV  1 lease, ms, then follower and fencing number of each claim
-- Returns the followers whose claim is lost.
local leases, fences = unpack(KEYS)
local lease_ms = ARGV[1]

local time = redis.call('TIME')
local expiry_ms = time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms
local lost = {}
for i = 2, #ARGV, 2 do
  local follower, fencing_number = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', fences, follower) == fencing_number then
    redis.call('ZADD', leases, 'XX', expiry_ms, follower)
  else
    lost[#lost + 1] = follower
  end
end
return lost
