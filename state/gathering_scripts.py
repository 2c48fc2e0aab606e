"""The Lua of gatherings; see state/gatherings.py.

A user's open window of a name is a hash at KEYS[n] {id, due, opened, count, bytes}; the items of a
window are a hash beside it, at KEYS[n]:<window id>, in the same slot, {i<item id>: place:item, by:
who took them}. Who joined lately is known in two hashes that take turns, {item id:
packed (window id, due, arms)}.
"""

from state.redis_client import Script

JOIN = Script(
    "gathering join",
    """
local call = redis.call
local now, kept, full_bytes, arming, asked = unpack(cmsgpack.unpack(ARGV[1]))

local function join(pointer, current, before, id, item, fresh, due, slide, longest, most)
  local p = call('HMGET', pointer, 'id', 'due', 'opened', 'count', 'bytes')
  local known = call('HGET', current, id) or call('HGET', before, id)
  if known then
    known = cmsgpack.unpack(known)
    return {known[1], known[2], p[1] == known[1] and 1 or 0, known[3]}
  end
  local window, opened, count, bytes = fresh, now, 1, #item
  if p[1] and tonumber(p[2]) > now then
    window, opened = p[1], tonumber(p[3])
    count, bytes = tonumber(p[4]) + 1, tonumber(p[5]) + #item
    due = tonumber(p[2])
    if slide > 0 then due = math.max(due, math.min(now + slide, opened + longest)) end
  end
  local is_full = count >= most or bytes >= full_bytes
  if is_full then
    due = now
    call('DEL', pointer)
  else
    call('HSET', pointer, 'id', window, 'due', string.format('%.0f', due),
         'opened', string.format('%.0f', opened), 'count', count, 'bytes', bytes)
    call('PEXPIRE', pointer, math.max(0, due - now) + kept)
  end
  local arms = (is_full or count <= arming) and 1 or 0
  local items = pointer .. ':' .. window
  call('HSET', items, 'i' .. id, count .. ':' .. item)
  call('PEXPIRE', items, math.max(0, due - now) + kept)
  call('HSET', current, id, cmsgpack.pack({window, due, arms}))
  call('PEXPIRE', current, 2 * kept)
  return {window, due, is_full and 0 or 1, arms}
end

local out = {}
for n, one in ipairs(asked) do
  local at, id = 3 * n, table.remove(one, 1)
  out[n] = join(KEYS[at - 2], KEYS[at - 1], KEYS[at], id, ARGV[n + 1], unpack(one))
end
return out
""",
)

CLOSE = Script(
    "gathering close",
    """
local call = redis.call
local now, kept, asked = unpack(cmsgpack.unpack(ARGV[1]))

local function close(pointer, window, by)
  local p = call('HMGET', pointer, 'id', 'due')
  if p[1] == window then
    if tonumber(p[2]) > now then return {tonumber(p[2])} end
    call('DEL', pointer)
  end
  local key = pointer .. ':' .. window
  local all = call('HGETALL', key)
  if #all == 0 then return {0} end
  local claimed, out = false, {0}
  for n = 1, #all, 2 do
    if all[n] == 'by' then
      claimed = all[n + 1]
    else
      out[#out + 1] = string.sub(all[n], 2)
      out[#out + 1] = all[n + 1]
    end
  end
  if by ~= '' then
    if claimed and claimed ~= by then return {0} end
    if not claimed then call('HSET', key, 'by', by) end
  end
  call('PEXPIRE', key, kept)
  return out
end

local out = {}
for n, one in ipairs(asked) do out[n] = close(KEYS[n], one[1], one[2]) end
return out
""",
)
