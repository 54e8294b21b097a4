-- renew: extend the claims that a worker still holds.
--
-- KEYS  1 claims  2 fences
-- ARGV  1 length of a claim, ms, then follower and fencing number of each claim
-- Returns the followers whose claim is lost.
local claims, fences = unpack(KEYS)
local claim_ms = ARGV[1]

local time = redis.call('TIME')
local expiry_ms = time[1] * 1000 + math.floor(time[2] / 1000) + claim_ms
local lost = {}
for i = 2, #ARGV, 2 do
  local follower, fencing_number = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', fences, follower) == fencing_number then
    redis.call('ZADD', claims, 'XX', expiry_ms, follower)
  else
    lost[#lost + 1] = follower
  end
end
return lost
