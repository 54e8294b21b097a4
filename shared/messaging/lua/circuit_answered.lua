-- circuit_answered: the broker answered; close the circuit and forget the failures.
--
-- KEYS  1 circuit
-- Returns 1 if it was open, else 0.
local circuit = KEYS[1]

local was_open = redis.call('HGET', circuit, 'open') == '1'
redis.call('HDEL', circuit, 'open', 'failures', 'who', 'probe_ms', 'distance_ms', 'opened_ms')
return was_open and 1 or 0
