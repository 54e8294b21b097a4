-- Give the lease back, if it is still ours, so that the spare need not wait for its end.
--
-- KEYS[1]  lease
-- ARGV[1]  our token
--
-- Returns 1: given back; 0: it had ended or is somebody else's.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
