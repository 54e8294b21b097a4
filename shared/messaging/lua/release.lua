-- release: give a follower back, ready again now or later if it has mail.
--
-- KEYS  1 leases  2 fences  3 submitting  4 ready  5 mailbox
-- ARGV  1 follower  2 fencing number  3 ready again in, ms  4 forget the submission: 1 or 0
-- Returns 1 done, 0 the lease is lost.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if ARGV[4] == '1' then redis.call('HDEL', KEYS[3], ARGV[1]) end
if redis.call('EXISTS', KEYS[5]) == 1 then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[4], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
end
return 1
