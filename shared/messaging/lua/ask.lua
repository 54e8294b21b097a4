-- ask: leave a request to read a follower's account, and make the follower ready now. Called by `nija reconcile`
-- and by a bookkeeper's rounds.
-- Another one's request that waits is answered first. Who asked asks again, and finds the place free then.
-- A leased follower is not made ready: being ready as well would lend it twice. Who asked asks again.
--
-- KEYS  1 reconcile  2 ready  3 leases
-- ARGV  1 follower  2 request
-- Returns 1 the follower is ready, 0 somebody serves it just now.
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
return 1
