-- settle: end the order at the head of a mailbox: remove it, move the copied positions, append the event.
-- If the mailbox is empty then, the same step releases the follower, so that no wake-up is lost.
-- Called by a broker_worker that holds the follower's claim.
--
-- KEYS  1 claims  2 fences  3 submitting  4 events  5 refresh  6 mailbox  7 positions
-- ARGV  1 follower  2 fencing number  3 length of the claim, ms  4 copy order id  5 event
--       6 account read due in, ms, if not planned earlier ('' = as planned)
--       7 … for each moved position: asset, and CopiedPosition afterwards ('' = none)
-- Returns {1, next head or '', copied positions} when done, {0} the claim is lost, {-1} the order is not at the
-- head (it was settled before).
local claims, fences, submitting, events, refresh, mailbox, positions = unpack(KEYS)
local follower, fencing_number, claim_ms = ARGV[1], ARGV[2], ARGV[3]
local copy_order_id, event, account_due_in_ms = ARGV[4], ARGV[5], ARGV[6]

if redis.call('HGET', fences, follower) ~= fencing_number then return { 0 } end
local head = redis.call('LINDEX', mailbox, 0)
if not head or not string.find(head, copy_order_id, 1, true) then return { -1 } end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('LPOP', mailbox)
redis.call('HDEL', submitting, follower)
for place = 7, #ARGV, 2 do
  local asset, position_after = ARGV[place], ARGV[place + 1]
  if position_after == '' then
    redis.call('HDEL', positions, asset)
  else
    redis.call('HSET', positions, asset, position_after)
  end
end
redis.call('XADD', events, '*', 'event', event)
if account_due_in_ms ~= '' then redis.call('ZADD', refresh, 'LT', now_ms + account_due_in_ms, follower) end

local next_head = redis.call('LINDEX', mailbox, 0)
if next_head then
  redis.call('ZADD', claims, 'XX', now_ms + claim_ms, follower)
  return { 1, next_head, redis.call('HGETALL', positions) }
end
redis.call('ZREM', claims, follower)
redis.call('HDEL', fences, follower)
return { 1, '', {} }
