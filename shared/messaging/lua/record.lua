-- record: note how far the order at the head of a mailbox has come. `begin` of a send is its main use.
-- Called by a broker_worker that holds the follower's lease; extends the lease.
--
-- KEYS  1 leases  2 fences  3 submitting  4 events
-- ARGV  1 follower  2 fencing number  3 lease, ms  4 submission expected ('' = none)  5 submission afterwards
--       6 event ('' = none)
-- Returns 1 done, 0 the lease is lost, -1 the submission is another one than expected.

-- The same order, attempt and stage. Not the texts: a worker of another version may have written the one in Redis.
local function is_expected(submission)
  if submission == ARGV[4] then return true end
  if submission == '' or ARGV[4] == '' then return false end
  local stored, expected = cjson.decode(submission), cjson.decode(ARGV[4])
  return stored['copy_order_id'] == expected['copy_order_id'] and stored['attempt'] == expected['attempt']
    and stored['stage'] == expected['stage']
end

if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
local submission = redis.call('HGET', KEYS[3], ARGV[1]) or ''
-- The reply to this very call may have been lost: then the value is there already.
if submission ~= ARGV[5] then
  if not is_expected(submission) then return -1 end
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
  if ARGV[6] ~= '' then redis.call('XADD', KEYS[4], '*', 'event', ARGV[6]) end
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
return 1
