-- The earliest offset kept of a publisher's id. KEYS: ids, meta. ARGV: which log, the id's digest.
-- Gives {1, offset}, {1} if there is none, or {0} if this is another log.
if redis.call('HGET', KEYS[2], 'log') ~= ARGV[1] then
  return {0}
end
local found = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[2] .. '0', '(' .. ARGV[2] .. ':', 'LIMIT', 0, 1)
if not found[1] then
  return {1}
end
return {1, tonumber(string.sub(found[1], #ARGV[2] + 1))}
