-- Reads what follows an offset. KEYS: log, meta. ARGV: which log, the offset, entries at most, bytes at about most.
-- Gives {1, first, last, id, fields, id, fields, …}, or {0} if this is another log.
local found = redis.call('HMGET', KEYS[2], 'log', 'first', 'last')
if found[1] ~= ARGV[1] then
  return {0}
end
local answer = {1, tonumber(found[2]), tonumber(found[3])}
local after, count, bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local taken, size, piece = 0, 0, 1
while taken < count and (taken == 0 or size < bytes) do
  local entries = redis.call('XRANGE', KEYS[1], string.format('%.0f', after + 1) .. '-0', '+', 'COUNT', piece)
  for _, entry in ipairs(entries) do
    after = tonumber(string.match(entry[1], '^%d+'))
    taken, size = taken + 1, size + #entry[2][2]
    answer[#answer + 1] = after
    answer[#answer + 1] = entry[2][2]
  end
  if #entries < piece then
    break
  end
  -- The next ones are likely to be as long as those before.
  piece = math.max(1, math.min(count - taken, 256, math.floor((bytes - size) / (size / taken + 1))))
end
return answer
