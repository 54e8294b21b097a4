-- adjust: lower a copied position to what the account really holds, and append the event for the ledger.
-- Called by a broker_worker that holds the follower's claim, while the mailbox is empty.
--
-- KEYS  1 fences  2 positions  3 events  4 mailbox
-- ARGV  1 follower  2 fencing number  3 asset  4 CopiedPosition afterwards ('' = none)  5 event
-- Returns 1 done, 0 the claim is lost, -1 an order has arrived in the mailbox.
local fences, positions, events, mailbox = unpack(KEYS)
local follower, fencing_number, asset = ARGV[1], ARGV[2], ARGV[3]
local position_after, event = ARGV[4], ARGV[5]

if redis.call('HGET', fences, follower) ~= fencing_number then return 0 end
if redis.call('EXISTS', mailbox) == 1 then return -1 end
if position_after == '' then
  redis.call('HDEL', positions, asset)
else
  redis.call('HSET', positions, asset, position_after)
end
redis.call('XADD', events, '*', 'event', event)
return 1
