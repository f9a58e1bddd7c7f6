-- The only code that changes event state in Redis. Loaded as a function library, so that a pipeline can call it on a
-- cluster without falling back; LIBRARY is replaced by a name made from this file's digest, so that two releases live
-- side by side during a rolling upgrade.
--
-- A group's record of an event, one string key with its own TTL:
--   state|generation|worker|number|attempts|crashes|suspect alone|due|topic|history
--   state C running, R waits for its retry, D handled, F dead letter; due in ms of Redis TIME; history JSON.
-- A publish record:  P|topic|token  while somebody publishes,  Y|topic|partition|offset|at|by  once acknowledged.
-- A lease: the number of the worker's newest call, living for the lease.

local RECORD = '^(%a)|(%d+)|([^|]*)|(%d+)|(%d+)|(%d+)|(%d)(%d)|(%d+)|([^|]*)|(.*)$'

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function read(value)
  if not value then return nil end
  local state, generation, worker, number, attempts, crashes, suspect, alone, due, topic, history =
    string.match(value, RECORD)
  if not state then return nil end
  return {state = state, generation = tonumber(generation), worker = worker, number = tonumber(number),
          attempts = attempts, crashes = tonumber(crashes), suspect = suspect, alone = alone, due = tonumber(due),
          topic = topic, history = history}
end

-- A call older than the worker's newest one comes from a connection that the client gave up: it must change nothing,
-- or it would take back what later calls did.
local function renew(lease_keys, number, lease_ms)
  for _, key in ipairs(lease_keys) do
    local newest = redis.call('GET', key)
    if newest and tonumber(newest) > number then return false end
  end
  for _, key in ipairs(lease_keys) do
    redis.call('SET', key, number, 'PX', lease_ms)
  end
  return true
end

local function settle(context, key, value, verb, expected, record, delay_ms)
  local mine = value and string.sub(value, 1, #expected) == expected
  if verb == 'X' then  -- give back what was claimed and not started
    if not mine then return 'K' end
    local old = read(value)
    if old.attempts == '0' and old.crashes == 0 and old.suspect == '0' then
      redis.call('DEL', key)
    else
      redis.call('SET', key, table.concat({'R', old.generation, old.worker, old.number, old.attempts, old.crashes,
        old.suspect .. '0', context.now, old.topic, old.history}, '|'), 'PX', context.active_ms)
    end
    return 'K'
  end
  if not mine and value then
    local old = read(value)
    if old then
      if string.sub(value, 1, #expected) == verb .. string.sub(expected, 2) then return 'K' end  -- repeated call
      local generation = tonumber(string.match(record, '^%a|(%d+)|'))
      if verb ~= 'D' or old.generation > generation or old.state == 'F' then return 'L' end
      if old.state == 'D' and old.generation == generation then return 'K' end
      -- D over somebody else's C or R: the effect has happened, and whoever took the event over learns it here.
    end
  end
  if verb == 'R' then
    record = string.gsub(record, '|@|', '|' .. string.format('%d', context.now + delay_ms) .. '|', 1)
  end
  redis.call('SET', key, record, 'PX', verb == 'D' and context.done_ms or context.active_ms)
  return 'K'
end

local function grant(context, key, old, generation, topic, suspect, alone, crashes)
  redis.call('SET', key, table.concat({'C', generation, context.worker, context.number, old and old.attempts or 0,
    crashes, suspect .. alone, 0, topic, old and old.history or ''}, '|'), 'PX', context.active_ms)
end

-- One letter per claim: G granted fresh, A granted with a past (details), W waits for its retry (ms), B busy elsewhere
-- (ms of the lease left), D handled, F dead letter.
local function claim(context, key, value, generation, topic, alone)
  local old = read(value)
  if not old or old.generation < generation then
    grant(context, key, nil, generation, topic, '0', alone, 0)
    return 'G'
  end
  if old.generation > generation or old.state == 'D' then return 'D' end
  if old.state == 'F' then return 'F' end
  local suspect, crashes = old.suspect, old.crashes
  if old.state == 'R' then
    if old.due > context.now then
      return 'W', {old.due - context.now, old.attempts, old.crashes, old.suspect, old.history}
    end
  elseif old.worker == context.worker then
    if alone == '0' then alone = old.alone end
  else
    local left = context.leases[old.worker]
    if left == nil then
      left = redis.call('PTTL', context.lease_prefix(key) .. old.worker)
      context.leases[old.worker] = left
    end
    if left > 0 then return 'B', {left, old.worker} end
    suspect = '1'
    if old.alone == '1' then crashes = crashes + 1 end
  end
  grant(context, key, old, generation, topic, suspect, alone, crashes)
  return 'A', {0, old.attempts, crashes, suspect, old.history}
end

-- KEYS: the worker's leases, then settled events, then claimed events.
-- ARGV: worker, number, lease ms, active ms, done ms, counts of the three; per settled event verb, expected, record,
-- delay ms; per claimed event generation, topic, alone.
local function exchange(keys, argv)
  local lease_count, settle_count, claim_count = tonumber(argv[6]), tonumber(argv[7]), tonumber(argv[8])
  local context = {worker = argv[1], number = tonumber(argv[2]), active_ms = argv[4], done_ms = argv[5],
                   now = now_ms(), leases = {}}
  -- A lease lives beside the event under the same hash tag, so its name can be told from the event's.
  context.lease_prefix = function(key) return string.match(key, '^(.-{%d+}:)') .. 'w:' end
  if not renew({unpack(keys, 1, lease_count)}, context.number, argv[3]) then return {'STALE'} end
  local settled, verdicts, details = {}, {}, {}
  local values = {}
  if settle_count + claim_count > 0 then values = redis.call('MGET', unpack(keys, lease_count + 1)) end
  local at = 9
  for i = 1, settle_count do
    settled[i] = settle(context, keys[lease_count + i], values[i], argv[at], argv[at + 1], argv[at + 2],
                        tonumber(argv[at + 3]))
    at = at + 4
  end
  local settled_here, claimed_here = {}, {}
  for i = 1, settle_count do settled_here[keys[lease_count + i]] = true end
  for i = 1, claim_count do
    local key = keys[lease_count + settle_count + i]
    local verdict, detail
    if claimed_here[key] then
      -- A second copy of the event in one batch: it waits for what becomes of the first.
      verdict, detail = 'B', {50, context.worker}
    else
      claimed_here[key] = true
      local value = values[settle_count + i]
      if settled_here[key] then value = redis.call('GET', key) end
      verdict, detail = claim(context, key, value, tonumber(argv[at]), argv[at + 1], argv[at + 2])
    end
    verdicts[i] = verdict
    if detail then
      details[#details + 1] = i - 1
      details[#details + 1] = detail
    end
    at = at + 3
  end
  return {table.concat(settled), table.concat(verdicts), details}
end

-- KEYS: publish records. ARGV: claim ms, token, topic. Answers per event 'G', or the record that is in the way.
local function claim_publish(keys, argv)
  local answers = {}
  for i, key in ipairs(keys) do
    local value = redis.call('GET', key)
    if not value or value == 'P|' .. argv[3] .. '|' .. argv[2] then
      redis.call('SET', key, 'P|' .. argv[3] .. '|' .. argv[2], 'PX', argv[1])
      answers[i] = 'G'
    else
      answers[i] = value
    end
  end
  return answers
end

-- KEYS: publish records. ARGV: keep ms, then the record per event. The first acknowledgement stands.
local function confirm_publish(keys, argv)
  for i, key in ipairs(keys) do
    local value = redis.call('GET', key)
    if not value or string.sub(value, 1, 1) ~= 'Y' then
      redis.call('SET', key, argv[i + 1], 'PX', argv[1])
    end
  end
  return #keys
end

-- KEYS: publish records. ARGV: token. Only the claim of this token is released.
local function release_publish(keys, argv)
  local released = 0
  for _, key in ipairs(keys) do
    local value = redis.call('GET', key)
    if value and string.sub(value, 1, 1) == 'P' and string.sub(value, -#argv[1]) == argv[1] then
      released = released + redis.call('DEL', key)
    end
  end
  return released
end

-- KEYS: lists by correlation id. ARGV: keep ms, most ids per list, then the event id per key.
local function correlate(keys, argv)
  for i, key in ipairs(keys) do
    redis.call('RPUSH', key, argv[i + 2])
    redis.call('LTRIM', key, -tonumber(argv[2]), -1)
    redis.call('PEXPIRE', key, argv[1])
  end
  return #keys
end

redis.register_function('LIBRARY_exchange', exchange)
redis.register_function('LIBRARY_claim_publish', claim_publish)
redis.register_function('LIBRARY_confirm_publish', confirm_publish)
redis.register_function('LIBRARY_release_publish', release_publish)
redis.register_function('LIBRARY_correlate', correlate)
