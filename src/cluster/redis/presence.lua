-- Who is subscribed where, and which hub lives. Which of these is meant is ARGV[1]; Redis' own clock decides.
-- KEYS: hubs (a sorted set: until when each lives, in ms), claims (a hash: until when and by whom a dead one is claimed), at (a sorted set
-- of hub and subscriber together, in order of their bytes), where (a hash: of each subscriber its hub and its document).
local hubs, claims, at, where = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local what, node = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local HUB_BYTES = 32

local function text(number) return string.format('%.0f', number) end
local function alive(hub)
  local lease = redis.call('ZSCORE', hubs, hub)
  return lease and tonumber(lease) > now
end
local function those_of(hub, count)
  return redis.call('ZRANGEBYLEX', at, '[' .. hub, '(' .. hub .. '\255', 'LIMIT', 0, count)
end
local function forget(place)
  redis.call('ZREM', at, place)
  local id = string.sub(place, HUB_BYTES + 1)
  local known = redis.call('HGET', where, id)
  if known and string.sub(known, 1, HUB_BYTES) == string.sub(place, 1, HUB_BYTES) then
    redis.call('HDEL', where, id)
  end
end
local function document(place)
  local known = redis.call('HGET', where, string.sub(place, HUB_BYTES + 1))
  return known and string.sub(known, HUB_BYTES + 1) or ''
end

if what == 'renew' then
  local known = alive(node)
  redis.call('ZADD', hubs, text(now + tonumber(ARGV[3])), node)
  if known then
    return 1
  end
  redis.call('HDEL', claims, node)
  repeat
    local places = those_of(node, 1000)
    for _, place in ipairs(places) do forget(place) end
  until #places == 0
  return 0

elseif what == 'enter' then
  -- Of a hub that was taken for dead nothing is noted: it learns so when it renews, and enters all of them again.
  if not alive(node) then
    return 0
  end
  for i = 3, #ARGV, 2 do
    local known = redis.call('HGET', where, ARGV[i])
    if known then
      redis.call('ZREM', at, string.sub(known, 1, HUB_BYTES) .. ARGV[i])
    end
    redis.call('HSET', where, ARGV[i], node .. ARGV[i + 1])
    redis.call('ZADD', at, 0, node .. ARGV[i])
  end
  return 1

elseif what == 'leave' then
  for i = 3, #ARGV do forget(node .. ARGV[i]) end
  return 1

elseif what == 'members' then
  local from = node == '' and '-' or '(' .. node
  local answer = {}
  for _, place in ipairs(redis.call('ZRANGEBYLEX', at, from, '+', 'LIMIT', 0, ARGV[3])) do
    answer[#answer + 1] = place
    answer[#answer + 1] = document(place)
  end
  return answer

elseif what == 'member' then
  return redis.call('HGET', where, node)

elseif what == 'claim' then
  for _, hub in ipairs(redis.call('ZRANGEBYSCORE', hubs, '-inf', text(now))) do
    local claimed = redis.call('HGET', claims, hub)
    if hub ~= node and not (claimed and tonumber(string.match(claimed, '^%d+')) > now) then
      redis.call('HSET', claims, hub, text(now + tonumber(ARGV[3])) .. ' ' .. node)
      return hub
    end
  end
  return false

elseif what == 'left' then
  local answer = {}
  for _, place in ipairs(those_of(node, ARGV[3])) do
    answer[#answer + 1] = string.sub(place, HUB_BYTES + 1)
    answer[#answer + 1] = document(place)
  end
  return answer

elseif what == 'bury' then
  if not alive(node) and not those_of(node, 1)[1] then
    redis.call('ZREM', hubs, node)
    redis.call('HDEL', claims, node)
  end
  return 1
end
