-- adjust: lower a copied position to what the account really holds, and tell the ledger.
-- Called by a broker_worker that holds the follower's lease, while the mailbox is empty.
--
-- KEYS  1 fences  2 positions  3 events  4 mailbox
-- ARGV  1 follower  2 fencing number  3 symbol  4 CopiedPosition afterwards ('' = none)  5 event
-- Returns 1 done, 0 the lease is lost, -1 an order has come in meanwhile.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('EXISTS', KEYS[4]) == 1 then return -1 end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[2], ARGV[3])
else
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
end
redis.call('XADD', KEYS[3], '*', 'event', ARGV[5])
return 1
