-- record: store how far the order at the head of a mailbox has come, above all that a send begins.
-- Called by a broker_worker that holds the follower's claim; extends the claim.
--
-- KEYS  1 claims  2 fences  3 submitting  4 events
-- ARGV  1 follower  2 fencing number  3 length of the claim, ms  4 submission expected ('' = none)  5 submission afterwards
--       6 event ('' = none)
-- Returns 1 done, 0 the claim is lost, -1 the stored submission is not the expected one.
local claims, fences, submitting, events = unpack(KEYS)
local follower, fencing_number, claim_ms = ARGV[1], ARGV[2], ARGV[3]
local expected_text, submission_after, event = ARGV[4], ARGV[5], ARGV[6]

-- Compares order, attempt and stage. The texts may differ, because a worker of another version may have written one.
local function is_expected(submission)
  if submission == expected_text then return true end
  if submission == '' or expected_text == '' then return false end
  local stored, expected = cjson.decode(submission), cjson.decode(expected_text)
  return stored['copy_order_id'] == expected['copy_order_id'] and stored['attempt'] == expected['attempt']
    and stored['stage'] == expected['stage']
end

if redis.call('HGET', fences, follower) ~= fencing_number then return 0 end
local submission = redis.call('HGET', submitting, follower) or ''
-- If the values are equal, the reply to an earlier call with these arguments was lost.
if submission ~= submission_after then
  if not is_expected(submission) then return -1 end
  redis.call('HSET', submitting, follower, submission_after)
  if event ~= '' then redis.call('XADD', events, '*', 'event', event) end
end
local time = redis.call('TIME')
redis.call('ZADD', claims, 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + claim_ms, follower)
return 1
