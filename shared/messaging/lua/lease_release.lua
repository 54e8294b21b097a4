-- lease_release: end a lease, if this token still holds it, so that the next process need not wait for its expiry.
--
-- KEYS  1 lease
-- ARGV  1 token
-- Returns 1: released; 0: it has expired, or another token holds it.
local token = ARGV[1]
if redis.call('GET', KEYS[1]) ~= token then return 0 end
return redis.call('DEL', KEYS[1])
