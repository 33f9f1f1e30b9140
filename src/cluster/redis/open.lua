-- Makes the record of a log if there is none. KEYS: log, meta, ids. ARGV: which log a new one would be, its id key.
-- Gives {1, log, id key, first, last}, or {0} if there are events without a record of them.
local found = redis.call('HMGET', KEYS[2], 'log', 'id_key', 'first', 'last')
if not found[1] then
  if redis.call('EXISTS', KEYS[1]) == 1 then
    return {0}
  end
  redis.call('HSET', KEYS[2], 'log', ARGV[1], 'id_key', ARGV[2], 'first', '1', 'last', '0', 'bytes', '0', 'oldest_ms', '0')
  redis.call('DEL', KEYS[3])
  found = {ARGV[1], ARGV[2], '1', '0'}
end
return {1, found[1], found[2], tonumber(found[3]), tonumber(found[4])}
