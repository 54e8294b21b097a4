-- ask: leave a request to read a follower's account, and make the follower ready now.
-- Called by `nija reconcile` and by the rounds of the bookkeeper.
-- A request that already waits is kept and answered first. The caller asks again until its own request is taken.
--
-- KEYS  1 reconciliation-requests  2 ready  3 claims
-- ARGV  1 follower  2 request
-- Returns 1 the follower is ready, 0 a worker serves the follower now, so ask again.
local requests, ready, claims = unpack(KEYS)
local follower, request = ARGV[1], ARGV[2]

redis.call('HSETNX', requests, follower, request)
-- A follower that is claimed must not be ready too: a second worker would claim it.
if redis.call('ZSCORE', claims, follower) then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', ready, time[1] * 1000 + math.floor(time[2] / 1000), follower)
return 1
