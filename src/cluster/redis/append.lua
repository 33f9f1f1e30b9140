-- Appends entries and trims what is over the limits, all or nothing.
-- KEYS: log, meta, ids. ARGV: which log, events at most, bytes at most, age at most in ms or '', then of each entry its bytes and the
-- digest of its publisher's id or ''. Gives {1, first offset given}, or {0} if this is another log.
local log, meta, ids = KEYS[1], KEYS[2], KEYS[3]
local found = redis.call('HMGET', meta, 'log', 'first', 'last', 'bytes', 'oldest_ms')
if found[1] ~= ARGV[1] then
  return {0}
end
local first, last, bytes, oldest = tonumber(found[2]), tonumber(found[3]), tonumber(found[4]), tonumber(found[5])
local function text(number) return string.format('%.0f', number) end
local function place(digest, offset) return digest .. string.format('%016.0f', offset) end
local function published(entry) return #entry < 18 and 0 or (struct.unpack('>I8', entry, 11)) end

if first <= last and redis.call('EXISTS', log) == 0 then
  -- Somebody has deleted the events, not the record of them.
  redis.call('DEL', ids)
  first, bytes = last + 1, 0
end

local given = last + 1
if first > last then
  oldest = published(ARGV[5])
end
for i = 5, #ARGV, 2 do
  local id = text(last + 1) .. '-0'
  -- The first of these is the first to write: if Redis has no room it fails, and nothing was done.
  if ARGV[i + 1] == '' then
    redis.call('XADD', log, id, 'e', ARGV[i])
  else
    redis.call('XADD', log, id, 'e', ARGV[i], 'i', ARGV[i + 1])
    redis.call('ZADD', ids, 0, place(ARGV[i + 1], last + 1))
  end
  last = last + 1
  bytes = bytes + #ARGV[i]
end

local events_max, bytes_max, since = tonumber(ARGV[2]), tonumber(ARGV[3]), nil
if ARGV[4] ~= '' then
  local now = redis.call('TIME')
  since = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[4])
end
local function over()
  return last - first + 1 > events_max or bytes > bytes_max or (since and oldest < since)
end
-- Twice as many as came, so that lowered limits are reached in the end without a pause.
local left, start = #ARGV + 64, first
while left > 0 and first < last and over() do
  local entries = redis.call('XRANGE', log, text(first) .. '-0', '+', 'COUNT', 2)
  local at = tonumber(string.match(entries[1][1], '^%d+'))
  if at == first then
    local fields = entries[1][2]
    bytes = bytes - #fields[2]
    if fields[4] then
      redis.call('ZREM', ids, place(fields[4], first))
    end
    first = first + 1
    if entries[2] then
      oldest = published(entries[2][2][2])
    end
  else
    first = at
    oldest = published(entries[1][2][2])
  end
  left = left - 1
end
if first > start then
  redis.call('XTRIM', log, 'MINID', text(first) .. '-0')
end
redis.call('HSET', meta, 'first', text(first), 'last', text(last), 'bytes', text(bytes), 'oldest_ms', text(oldest))
return {1, given}
