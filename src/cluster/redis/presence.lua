-- Who is subscribed where, and which hub lives. Which of these is meant is ARGV[1]; Redis' own clock decides.
-- KEYS: hubs (a sorted set: until when the lease of each is, in ms), claims (a hash: until when and by whom a dead one is claimed; who has
-- been claimed is dead, also when that time is over), at (a sorted set
-- of hub and subscriber together, in order of their bytes), where (a hash: of each subscriber its hub and its document).
local hubs, claims, at, where = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local what, node = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local HUB_BYTES = 32

local function text(number) return string.format('%.0f', number) end
local function lease(hub) return redis.call('ZSCORE', hubs, hub) end
local function dead(hub) return redis.call('HEXISTS', claims, hub) == 1 end
local function lives(hub) return lease(hub) and not dead(hub) end
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

if what == 'arrive' or what == 'renew' then
  if dead(node) or what == 'renew' and not lease(node) then
    return 0
  end
  redis.call('ZADD', hubs, text(now + tonumber(ARGV[3])), node)
  return 1

elseif what == 'enter' then
  -- Of a hub that was taken for dead nothing is noted: it learns so when it renews, and enters all of them again.
  if not lives(node) then
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
  local places = redis.call('ZRANGEBYLEX', at, from, '+', 'LIMIT', 0, ARGV[3])
  local gone, bytes = {}, tonumber(ARGV[4])
  local answer = { #places < tonumber(ARGV[3]) and '' or places[#places] }
  for i, place in ipairs(places) do
    local hub = string.sub(place, 1, HUB_BYTES)
    if gone[hub] == nil then gone[hub] = dead(hub) end
    if not gone[hub] then
      local text = document(place)
      answer[#answer + 1] = place
      answer[#answer + 1] = text
      bytes = bytes - #text
      if bytes <= 0 then
        if i < #places then answer[1] = place end
        break
      end
    end
  end
  return answer

elseif what == 'member' then
  local known = redis.call('HGET', where, node)
  return known and not dead(string.sub(known, 1, HUB_BYTES)) and known

elseif what == 'claim' then
  -- Whoever has not been heard of for so long can't tell who else could have been.
  if not lives(node) or tonumber(lease(node)) <= now then
    return false
  end
  local chosen
  for _, hub in ipairs(redis.call('ZRANGEBYSCORE', hubs, '-inf', text(now))) do
    local claimed = redis.call('HGET', claims, hub)
    local ends, by = string.match(claimed or '0 ', '^(%d+) (.*)$')
    if by == node then
      chosen = hub
      break
    elseif not chosen and tonumber(ends) <= now then
      chosen = hub
    end
  end
  if chosen then
    redis.call('HSET', claims, chosen, text(now + tonumber(ARGV[3])) .. ' ' .. node)
  end
  return chosen or false

elseif what == 'left' then
  local answer, bytes = {}, tonumber(ARGV[4])
  for _, place in ipairs(those_of(node, ARGV[3])) do
    local text = document(place)
    answer[#answer + 1] = string.sub(place, HUB_BYTES + 1)
    answer[#answer + 1] = text
    bytes = bytes - #text
    if bytes <= 0 then break end
  end
  return answer

elseif what == 'bury' then
  if dead(node) and not those_of(node, 1)[1] then
    redis.call('ZREM', hubs, node)
    redis.call('HDEL', claims, node)
  end
  return 1
end
