-- circuit_answered: the broker answered; close the circuit and forget the failures.
--
-- KEYS  1 circuit
-- Returns 1 if it was open, else 0.
local was_open = redis.call('HGET', KEYS[1], 'open') == '1'
redis.call('HDEL', KEYS[1], 'open', 'failures', 'who', 'probe_ms', 'distance_ms', 'opened_ms')
return was_open and 1 or 0
