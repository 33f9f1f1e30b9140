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

-- Sorted sets take many members at once, in pieces that Lua's stack can hold.
local function each_piece(command, all, size)
  for i = 1, #all, size do
    redis.call(command, ids, unpack(all, i, math.min(i + size - 1, #all)))
  end
end

local given, named = last + 1, {}
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
    named[#named + 1] = 0
    named[#named + 1] = place(ARGV[i + 1], last + 1)
  end
  last = last + 1
  bytes = bytes + #ARGV[i]
end
each_piece('ZADD', named, 1000)

local events_max, bytes_max, since = tonumber(ARGV[2]), tonumber(ARGV[3]), nil
if ARGV[4] ~= '' then
  local now = redis.call('TIME')
  since = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[4])
end
local function over()
  return last - first + 1 > events_max or bytes > bytes_max or (since and oldest < since)
end
-- Twice as many as came, so that lowered limits are reached in the end without a pause.
local left, start, unnamed = #ARGV + 64, first, {}
while left > 0 and first < last and over() do
  -- As many at once as have some 64 KiB; the last of them only says what comes after the one before.
  local piece = math.max(2, math.min(128, math.floor(65536 * (last - first + 1) / bytes)))
  local entries = redis.call('XRANGE', log, text(first) .. '-0', '+', 'COUNT', piece)
  local at = tonumber(string.match(entries[1][1], '^%d+'))
  if at > first then
    -- Somebody has deleted what was here.
    first, oldest, left = at, published(entries[1][2][2]), left - 1
  end
  for i = 1, #entries - 1 do
    if left == 0 or not over() then
      break
    end
    local fields = entries[i][2]
    bytes = bytes - #fields[2]
    if fields[4] then
      unnamed[#unnamed + 1] = place(fields[4], first)
    end
    first, oldest, left = tonumber(string.match(entries[i + 1][1], '^%d+')), published(entries[i + 1][2][2]), left - 1
  end
end
each_piece('ZREM', unnamed, 1000)
if first > start then
  redis.call('XTRIM', log, 'MINID', text(first) .. '-0')
end
redis.call('HSET', meta, 'first', text(first), 'last', text(last), 'bytes', text(bytes), 'oldest_ms', text(oldest))
return {1, given}
