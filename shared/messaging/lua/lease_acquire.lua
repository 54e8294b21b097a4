-- lease_acquire: take a lease that no other process holds. Repeating it after a lost reply keeps the lease.
--
-- KEYS  1 lease
-- ARGV  1 token  2 length, ms  3 owner whose earlier lease is replaced too ('' = none)
-- Returns 1: this token holds the lease now; 0: another token does.
-- A token is the owner's name, a colon, and digits that are new for each attempt.
local token, length_ms, owner = ARGV[1], ARGV[2], ARGV[3]
local holder = redis.call('GET', KEYS[1])
local is_replaceable = holder and owner ~= '' and string.match(holder, '^(.*):[^:]*$') == owner
if holder and holder ~= token and not is_replaceable then return 0 end
redis.call('SET', KEYS[1], token, 'PX', length_ms)
return 1
