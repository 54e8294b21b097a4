-- release: end the claim on a follower; if it has mail, make it ready again now or later.
--
-- KEYS  1 claims  2 fences  3 submitting  4 ready  5 mailbox
-- ARGV  1 follower  2 fencing number  3 ready again in, ms  4 forget the submission: 1 or 0
-- Returns 1 done, 0 the claim is lost.
local claims, fences, submitting, ready, mailbox = unpack(KEYS)
local follower, fencing_number, ready_in_ms, forget_submission = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'

if redis.call('HGET', fences, follower) ~= fencing_number then return 0 end
redis.call('ZREM', claims, follower)
redis.call('HDEL', fences, follower)
if forget_submission then redis.call('HDEL', submitting, follower) end
if redis.call('EXISTS', mailbox) == 1 then
  local time = redis.call('TIME')
  redis.call('ZADD', ready, time[1] * 1000 + math.floor(time[2] / 1000) + ready_in_ms, follower)
end
return 1
