-- Keep the lease for another while, if it is still ours.
--
-- KEYS[1]  lease
-- ARGV[1]  our token
-- ARGV[2]  milliseconds
--
-- Returns 1: ours until then; 0: it ended or is somebody else's.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
