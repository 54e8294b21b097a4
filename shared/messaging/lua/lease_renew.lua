-- lease_renew: keep a lease for its full length from now, if this token still holds it.
--
-- KEYS  1 lease
-- ARGV  1 token  2 length, ms
-- Returns 1: kept; 0: it has expired, or another token holds it.
local token, length_ms = ARGV[1], ARGV[2]
if redis.call('GET', KEYS[1]) ~= token then return 0 end
return redis.call('PEXPIRE', KEYS[1], length_ms)
