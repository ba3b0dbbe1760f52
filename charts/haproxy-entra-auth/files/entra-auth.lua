-- entra-auth: asks the verifier of haproxy-entra-auth who sends a request, and tells the
-- application through identity headers.
--
--     http-request lua.entra-auth POLICY          verify; answer a refusal, or set the headers
--     http-request lua.entra-auth-backend         the same, the backend's own name is the policy
--     http-request lua.entra-auth-observe POLICY  verify, but only set the variables txn.entra.*
--     req.hdrs,lua.entra-auth-hit(POLICY)     a cached allow for add-headers-bin, HAProxy 3.4
--     http-request use-service lua.entra-auth-metrics   numbers for Prometheus
--
-- An allow is cached for as long as the verifier permits, and only while a background task gets the
-- verifier's list of revocations.
--
-- HAProxy lets a request THROUGH when a Lua action fails, so this file alone is not enough:
-- haproxy.cfg beside it strips identity headers before the action and denies after it unless
-- txn.entra.ok is true. Settings, variables and reason codes are in README.md.
--
-- Runs on HAProxy 2.6 and later (Lua 5.3 and 5.4). One file, no module, no global.

-- Both sides send this number. A verifier with another one may mean something else by a header,
-- so its answer is not used.
local CONTRACT = "1"

-- What is cut when too long is only there for the verifier's log.
local LOG_VALUE_LIMIT = 1024
-- Far above what the verifier sends, and far below a buffer: HAProxy sends nothing if a reply does
-- not fit into its buffer.
local CHALLENGE_LIMIT = 4096
local BODY_LIMIT = 8192
local HTML = "text/html; charset=utf-8"
-- The verifier's Retry-After is used up to here; otherwise clients are asked to wait this long.
local RETRY_AFTER_LIMIT_SECONDS = 3600
local RETRY_AFTER_SECONDS = 5
-- How long a call that ended silently, because its client disconnected, counts as under way.
local CALL_COUNTED_MS = 500
-- User-Agent of the calls of this action: a request that has it came from here.
local OWN_NAME = "haproxy-entra-auth/action"
-- Seconds that a source waits that keeps sending bad tokens.
local BAD_TOKENS_RETRY_SECONDS = 10
-- One line of each kind in this time: with an outage every request would otherwise log one.
local LOG_EVERY_SECONDS = 10

-- How often the verifier is asked what was revoked; spread, or the threads would ask in step.
local POLL_LEAST_MS = 800
local POLL_SPREAD_MS = 400
-- One more and the cache goes out of use: what does not fit must not be forgotten.
local REVOCATION_LIMIT = 10000
local FEED_LIMIT_BYTES = 4 * 1024 * 1024
-- Ends of tokens are as good as random, so that many bytes find an entry; the whole is compared.
local TAIL_BYTES = 16
-- The size of an entry without its strings: tables, list, keys. Measured, rounded up.
local ENTRY_BYTES = 2048
-- After each poll, at most this many entries are checked for expiry, in steps between which other
-- work can run.
local SWEEP_LIMIT = 2000
local SWEEP_SLICE = 50
-- Verdicts of at least so many seconds end at any time of their last quarter. Otherwise all that a start of HAProxy made
-- would end together, and all be asked for at once.
local SPREAD_FROM_SECONDS = 60
-- Of entries that are in use, at most this many are passed over before one is evicted all the same.
local SECOND_CHANCES = 100
-- Variables of the process that hold the numbers of a thread each, and the most there can be.
local PUBLISHED = "proc.entra_auth_action_"
-- The last good poll of any thread, for all threads.
local POLLED = "proc.entra_auth_polled"
local THREAD_LIMIT = 1024
-- More different reasons than a verifier has; the rest is counted as one.
local REASON_LIMIT = 64

-- Headers with a meaning for the connection or the routing. A verifier that lists one of them as
-- an identity header would let a claim rewrite the request itself.
local NEVER_IDENTITY = {
    ["authorization"] = true,
    ["connection"] = true,
    ["content-length"] = true,
    ["content-type"] = true,
    ["cookie"] = true,
    ["expect"] = true,
    ["host"] = true,
    ["keep-alive"] = true,
    ["proxy-authenticate"] = true,
    ["proxy-authorization"] = true,
    ["proxy-connection"] = true,
    ["te"] = true,
    ["trailer"] = true,
    ["transfer-encoding"] = true,
    ["upgrade"] = true,
}

-- Refusals that the action makes by itself; what the verifier refuses has the verifier's words.
local FAILURES = {
    ambiguous_credentials = {
        status = 400,
        error = "invalid_request",
        text = "More than one Authorization header was sent; send exactly one.",
    },
    malformed_credentials = {
        status = 400,
        error = "invalid_request",
        text = "The Authorization header must be the word Bearer, a space and one token, nothing else.",
    },
    token_too_long = {
        status = 401,
        error = "invalid_token",
        text = "The token is longer than is accepted here; ask for fewer group or role claims.",
    },
    too_many_bad_tokens = {
        status = 429,
        error = "too_many_requests",
        text = "Too many tokens from this address were refused; wait, and send a valid one.",
    },
    too_many_calls = {
        status = 503,
        error = "temporarily_unavailable",
        text = "Too many tokens are being verified at the moment; try again shortly.",
    },
    token_does_not_fit = {
        status = 500,
        error = "server_error",
        text = "The token is larger than this proxy is set up for; tell whoever runs this service.",
    },
    cross_site_request = {
        status = 403,
        error = "cross_site_request",
        text = "The request comes from a page of another site and was not passed on; send it from a page of this site.",
    },
    verification_loop = {
        status = 400,
        error = "invalid_request",
        text = "The request says that it is a call of HAProxy to the verifier, and those are not verified.",
    },
    verifier_unavailable = {
        status = 503,
        error = "temporarily_unavailable",
        text = "The token could not be verified at the moment; try again shortly.",
    },
    unknown_policy = {
        status = 500,
        error = "server_error",
        text = "The policy of this route is not configured; tell whoever runs this service.",
    },
    bad_setup = {
        status = 500,
        error = "server_error",
        text = "The verification is not set up correctly; tell whoever runs this service.",
    },
    identity_incomplete = {
        status = 500,
        error = "server_error",
        text = "The identity does not fit into the request; tell whoever runs this service.",
    },
    internal_error = {
        status = 500,
        error = "server_error",
        text = "The verification failed; tell whoever runs this service.",
    },
}

-- Everything but txn.entra.ok, which is set in any case. The last two are the names of
-- haproxy-auth-request, for configurations that come from there; only set on request.
local VARIABLES = {
    { name = "status", field = "status", full = "txn.entra.status" },
    { name = "reason", field = "reason", full = "txn.entra.reason" },
    { name = "policy", field = "policy", full = "txn.entra.policy" },
    { name = "user", field = "user", full = "txn.entra.user" },
    { name = "tenant", field = "tenant", full = "txn.entra.tenant" },
    { name = "client", field = "client", full = "txn.entra.client" },
    { name = "actor", field = "actor", full = "txn.entra.actor" },
    { name = "token_id", field = "token_id", full = "txn.entra.token_id" },
    { name = "cache", field = "cache", full = "txn.entra.cache" },
    { name = "ms", field = "ms", full = "txn.entra.ms" },
    { name = "auth_response", field = "ok", full = "txn.auth_response_successful" },
    { name = "auth_response", field = "status", full = "txn.auth_response_code" },
}

-- Settings --------------------------------------------------------------------------------------

local settings
do
    -- HAProxy ends its start with this text; level 0 keeps file and line out of it.
    local function refuseStart(text)
        error("entra-auth: " .. text, 0)
    end

    -- A `listen` section on loopback stands between this file and the verifier: it has the health
    -- checks, the balancing, TLS and the short timeouts. A plain call over a network could be
    -- answered by anybody on the way, and a name would be resolved for seconds.
    local function parseVerifier(value)
        local port = value:match("^127%.%d+%.%d+%.%d+:(%d+)$") or value:match("^%[::1%]:(%d+)$")
        local number = tonumber(port)
        if not number or number < 1 or number > 65535 then
            return nil, "must be a loopback address and port, as 127.0.0.1:14480 or [::1]:14480"
        end
        return value
    end

    local function parseNumber(least, most)
        return function(value)
            local number = value:match("^%d+$") and tonumber(value)
            if not number or number < least or number > most then
                return nil, ("must be a whole number from %d to %d"):format(least, most)
            end
            return math.tointeger(number)
        end
    end

    local function parseChoice(...)
        local choices = { ... }
        return function(value)
            for _, choice in ipairs(choices) do
                if value == choice then
                    return value
                end
            end
            return nil, "must be one of: " .. table.concat(choices, ", ")
        end
    end

    -- HAProxy creates a variable whether anything reads it or not, and each costs some 2% of a
    -- remembered request.
    local function parseVariables(value)
        local wanted, chosen = {}, {}
        for name in (value .. ","):gmatch("([^,]*),") do
            wanted[name] = true
        end
        local every, none = wanted.all, wanted.none
        wanted.all, wanted.none = nil, nil
        for _, variable in ipairs(VARIABLES) do
            if every or wanted[variable.name] then
                chosen[#chosen + 1] = variable
            end
        end
        for _, variable in ipairs(VARIABLES) do
            wanted[variable.name] = nil
        end
        if next(wanted) or (none and #chosen > 0) then
            return nil, "must be all, none, or names with commas between them: status, reason, policy, "
                .. "user, tenant, client, actor, token_id, cache, ms, auth_response"
        end
        return chosen
    end

    local function parseCallerKey(value)
        if value:find("[^\33-\126]") then
            return nil, "must be printable ASCII without spaces"
        end
        return value
    end

    -- A counter of HAProxy's stick tables: its gpc0 counts, its gpc0_rate limits.
    local function parseCounter(value)
        local index = tonumber(value:match("^sc(%d%d?)$"))
        if not index then
            return nil, "must be the name of a sticky counter, as sc0"
        end
        return math.tointeger(index)
    end

    -- The first line of a file.
    local function parseKeyFile(path)
        local file = io and io.open and io.open(path, "r")
        local line = file and file:read("l")
        if file then
            file:close()
        end
        local key = line and line:match("^(.-)%s*$")
        if not key or key == "" then
            return nil, "must name a file that can be read, with the key in its first line"
        end
        return parseCallerKey(key)
    end

    -- Arguments of lua-load-per-thread arrive from HAProxy 2.7 on; on 2.6 the same settings come from
    -- the environment (`setenv` or `presetenv` in the global section). An argument wins.
    local SETTINGS = {
        ["verifier"] = {
            variable = "ENTRA_AUTH_VERIFIER",
            default = "127.0.0.1:14480",
            parse = parseVerifier,
        },
        -- This is for one attempt, and HAProxy makes up to four. So it must be longer than the `listen`
        -- section takes to give up.
        ["timeout-ms"] = {
            variable = "ENTRA_AUTH_TIMEOUT_MS",
            default = "2000",
            parse = parseNumber(100, 60000),
        },
        ["cors-preflight"] = {
            variable = "ENTRA_AUTH_CORS_PREFLIGHT",
            default = "refuse",
            parse = parseChoice("refuse", "pass"),
        },
        ["max-token-bytes"] = {
            variable = "ENTRA_AUTH_MAX_TOKEN_BYTES",
            default = "16384",
            parse = parseNumber(1024, 1048576),
        },
        -- Calls under way at the same time, in each thread.
        ["max-calls"] = {
            variable = "ENTRA_AUTH_MAX_CALLS",
            default = "512",
            parse = parseNumber(1, 100000),
        },
        ["max-calls-per-source"] = {
            variable = "ENTRA_AUTH_MAX_CALLS_PER_SOURCE",
            default = "256",
            parse = parseNumber(1, 100000),
        },
        ["count-bad-tokens"] = {
            variable = "ENTRA_AUTH_COUNT_BAD_TOKENS",
            parse = parseCounter,
        },
        ["limit-bad-tokens"] = {
            variable = "ENTRA_AUTH_BAD_TOKENS_PER_10S",
            default = "100",
            parse = parseNumber(1, 4294967295),
        },
        ["cache-entries"] = {
            variable = "ENTRA_AUTH_CACHE_ENTRIES",
            default = "10000",
            parse = parseNumber(0, 1000000),
        },
        ["cache-bytes"] = {
            variable = "ENTRA_AUTH_CACHE_BYTES",
            default = "16777216",
            parse = parseNumber(65536, 4294967296),
        },
        -- Of all threads together, from HAProxy 3.2 on.
        ["shared-bytes"] = {
            variable = "ENTRA_AUTH_SHARED_BYTES",
            default = "134217728",
            parse = parseNumber(0, 4294967296),
        },
        ["feed-stale-seconds"] = {
            variable = "ENTRA_AUTH_FEED_STALE_SECONDS",
            default = "10",
            parse = parseNumber(2, 300),
        },
        ["variables"] = {
            variable = "ENTRA_AUTH_VARIABLES",
            default = "status,reason,policy,user,tenant,client,actor,token_id,cache,ms",
            parse = parseVariables,
        },
        -- Never an argument: those stand in the configuration file and in its dumps.
        ["caller-key"] = {
            variable = "ENTRA_AUTH_CALLER_KEY",
            environmentOnly = true,
            parse = parseCallerKey,
        },
        -- Read when HAProxy starts. Unlike the variable, `show env` does not show what is in it.
        ["caller-key-file"] = {
            variable = "ENTRA_AUTH_CALLER_KEY_FILE",
            parse = parseKeyFile,
        },
    }

    local function settingNames()
        local names = {}
        for name, setting in pairs(SETTINGS) do
            if not setting.environmentOnly then
                names[#names + 1] = name
            end
        end
        table.sort(names)
        return table.concat(names, ", ")
    end

    local function readArguments(arguments)
        local given = {}
        for _, argument in ipairs(arguments) do
            local name, value = tostring(argument):match("^([^=]+)=(.*)$")
            local setting = SETTINGS[name or ""]
            if not name then
                refuseStart(("'%s' is not of the form key=value"):format(argument))
            elseif not setting then
                refuseStart(("unknown setting '%s'; there are: %s"):format(name, settingNames()))
            elseif setting.environmentOnly then
                refuseStart(("%s comes from the variable %s only"):format(name, setting.variable))
            elseif given[name] then
                refuseStart(("the setting %s is given twice"):format(name))
            end
            given[name] = value
        end
        return given
    end

    -- `tune.lua.openlibs` can leave the whole library out; then there are only the arguments.
    local function readVariable(name)
        return os and os.getenv and os.getenv(name)
    end

    local function readSettings(arguments)
        local given = readArguments(arguments)
        local settings = {}
        for name, setting in pairs(SETTINGS) do
            local source, value = name, given[name]
            if value == nil then
                source, value = setting.variable, readVariable(setting.variable)
            end
            if value == "" then
                refuseStart(source .. " is empty: remove it or give it a value")
            end
            value = value or setting.default
            if value ~= nil then
                local parsed, problem = setting.parse(value)
                if parsed == nil then
                    refuseStart(source .. " " .. problem)
                end
                settings[name] = parsed
            end
        end
        if settings["caller-key"] and settings["caller-key-file"] then
            refuseStart("the caller key is given twice: by a variable and by a file")
        end
        settings["caller-key"] = settings["caller-key"] or settings["caller-key-file"]
        return settings
    end

    settings = readSettings({ ... })
end

local isCacheOn = settings["cache-entries"] > 0
-- Less once threads share verdicts.
settings["shareable-bytes"] = settings["cache-bytes"]

-- Clock -----------------------------------------------------------------------------------------

-- `tune.lua.openlibs` can leave the library out.
local machineSeconds = os and os.time or function()
    -- A number that equals none, not even itself.
    return 0 / 0
end
-- By how much the clock below is ahead of HAProxy's, and when it was last looked at, by both.
local aheadMs, lastSecond, lastMs = 0, nil, 0

-- HAProxy's clock never goes back. On HAProxy 2.6 it stops while the machine or the process is
-- paused, and cached verdicts would live longer by that pause. So this clock is never behind the
-- full seconds of the machine's clock, and stays ahead if the machine's clock is set back.
local function nowMs()
    local now = core.now()
    local haproxyMs = now.sec * 1000 + now.usec // 1000
    local second = machineSeconds()
    local machineMs = second * 1000
    if machineMs > haproxyMs + aheadMs then
        aheadMs = machineMs - haproxyMs
    end
    lastSecond, lastMs = second, haproxyMs + aheadMs
    return lastMs
end

-- Whether this time is certainly not reached. HAProxy creates a table each time its clock is read.
-- While the machine's clock shows the same second, at most one second has passed since the last
-- reading.
local function isBefore(ms)
    return (machineSeconds() == lastSecond and lastMs + 1000 < ms) or nowMs() < ms
end

-- HAProxy counts the instructions of Lua, which makes each of them dearer. Counting is off from a call of
-- this function until HAProxy resumes Lua the next time, after a wait or for the next request. Only
-- where the rest does a fixed amount of work for each byte of a request or of an answer, and so needs no
-- limit. `tune.lua.openlibs` can leave the library out.
local canStop, stopCounting
do
    local debugging = rawget(_G, "debug")
    canStop = debugging ~= nil and debugging.sethook ~= nil
    stopCounting = canStop and debugging.sethook or function() end
end

-- Shared state ----------------------------------------------------------------------------------
-- HAProxy interrupts Lua every tune.lua.forced-yield instructions, anywhere and under pcall too, and
-- runs other requests in this same state before it goes on. It cannot interrupt a function that a C
-- function called. So each change of shared state that takes more than one assignment runs inside of
-- string.gsub.

local gsub = string.gsub
-- Changes that began, and those that came to their end: after an error, the difference tells whether one is
-- only half made.
local begun, ended = 0, 0

-- Runs `change`, which returns nothing, without interruption.
local function atomically(change)
    gsub("x", "x", function()
        begun = begun + 1
        change()
        ended = ended + 1
    end)
end

-- The same where the count of instructions is off: within the request that the cache was searched for, up to the call,
-- and from a prepared value on. The way through string.gsub costs more than most changes. What may only run inside of
-- `atomically` may run inside of this too.
local function inOneStep(change)
    if not canStop then
        return atomically(change)
    end
    begun = begun + 1
    change()
    ended = ended + 1
end

-- For numbers only, between the look into the cache and the call, with one argument. There the count of
-- instructions is off, so HAProxy interrupts nothing, and the way through string.gsub is not needed.
local function atOnce(change, argument)
    if canStop then
        change(argument)
    else
        gsub("x", "x", function()
            change(argument)
        end)
    end
end

-- Numbers ---------------------------------------------------------------------------------------
-- Of this Lua state: with lua-load-per-thread, of one thread.

local numbers = {
    requests = 0,
    hits = 0,
    misses = 0,
    calls = 0,
    callMs = 0,
    entries = 0,
    bytes = 0,
    evictions = 0,
    goodPolls = 0,
    badPolls = 0,
}
local refusals, reasonCount = {}, 0
-- Whether the numbers of this thread should be shown to the others with the next request.
local publishDue = not isCacheOn

local function addOne(name)
    numbers[name] = numbers[name] + 1
end

-- Adding one is a read and a write: interrupted in between, it would undo what others counted.
local function count(name)
    gsub(name, ".+", addOne)
end

local function addRefusal(reason)
    if not refusals[reason] then
        if reasonCount >= REASON_LIMIT then
            reason = "other"
        end
        reasonCount = reasonCount + 1
    end
    refusals[reason] = (refusals[reason] or 0) + 1
end

local function countRefusal(reason)
    gsub(reason, ".+", addRefusal)
end

-- Log -------------------------------------------------------------------------------------------

local lastLogged = {}

local function logOnceInAWhile(kind, text)
    local isDue = true
    atomically(function()
        local now, last = core.now().sec, lastLogged[kind]
        -- A clock that was set back must not silence the log until it has caught up.
        isDue = not last or now < last or now - last >= LOG_EVERY_SECONDS
        lastLogged[kind] = isDue and now or last
    end)
    if isDue then
        core.log(core.err, "entra-auth: " .. text)
    end
end

-- Values ----------------------------------------------------------------------------------------

-- HAProxy writes a CR LF inside a value as it is, which makes a header of its own out of the rest.
-- The whole value is matched at once. Searching for an invalid character starts again at each
-- position and takes three times as long, and a token has more than a thousand characters.
local function isPrintable(value)
    return value:find("^[\32-\126]*$") ~= nil
end

-- The value as the lines of a header, or nil where it is not printable. Short values are cached, because
-- the same tenant, application or host comes again and again. Nobody changes these tables, and losing some
-- costs time and nothing else.
local linesOf
do
    local LONGEST, MOST = 40, 1024
    local cached, count = {}, 0

    function linesOf(value)
        local lines = cached[value]
        if lines or not isPrintable(value) then
            return lines
        end
        lines = { value }
        if #value <= LONGEST then
            if count >= MOST then
                cached, count = {}, 0
            end
            cached[value] = lines
            count = count + 1
        end
        return lines
    end
end

local function isRequestId(value)
    return #value <= 128 and value:find("^[%w%-_.:/+=@]+$") ~= nil
end

-- W3C Trace Context: version, trace id, parent id, flags.
local function isTraceparent(value)
    return #value <= 128 and value:find("^%x%x%-%x+%-%x+%-%x%x[%w%-]*$") ~= nil
end

local function isReason(value)
    return #value <= 64 and value:find("^[%l][%l%d_]*$") ~= nil
end

local function percentEncode(value)
    return (value:gsub("[^%w%-_.~]", function(char)
        return ("%%%02X"):format(char:byte())
    end))
end

local function jsonString(value)
    local escaped = value:gsub('[%c"\\\127-\255]', function(char)
        return ("\\u%04x"):format(char:byte())
    end)
    return '"' .. escaped .. '"'
end

-- Request ---------------------------------------------------------------------------------------

-- HAProxy encodes all but letters, digits and "-_.~", each as three characters. So if nothing but the one
-- space became longer, this is "Bearer" and one token, all printable. This costs a third of the check in Lua, which
-- checks all others. What does not fit into a buffer when encoded comes back empty.
local function isPlainBearer(txn, value)
    return value:sub(1, 7) == "Bearer " and #txn.sc:url_enc(value, "query") == #value + #"%20" - 1
end

-- Whether these are credentials of another scheme than Bearer: no token was sent then.
local function isOtherScheme(credentials)
    if credentials:sub(1, 7) == "Bearer " then
        return false
    end
    local scheme, after = credentials:match("^([!#$%%&'*+%-.^_`|~%w]+)(.?)")
    return scheme ~= nil and (after == "" or after == " ") and scheme:lower() ~= "bearer"
end

-- The token of these credentials, whatever the spelling of "Bearer "; nil where there is none.
local function tokenOf(credentials)
    local scheme, start = credentials:match("^(%a+) +()")
    return scheme and scheme:lower() == "bearer" and credentials:sub(start) or nil
end

-- Counted, because the fetch returns the last of several headers and other programs take the
-- first: two programs would then look at two different tokens. `plain` are the credentials of a request
-- that is known to have exactly one such header. With a problem, the credentials are only returned where
-- a policy on probation admits them all the same.
local function readCredentials(txn, plain)
    local value = plain
    if not value then
        local count = txn.f:req_fhdr_cnt("authorization")
        if count == 0 then
            return nil
        elseif count > 1 then
            return nil, "ambiguous_credentials"
        end
        value = txn.sf:req_fhdr("authorization")
    end
    local isPlain = isPlainBearer(txn, value)
    if value == "" or not (isPlain or isPrintable(value)) then
        return nil, "malformed_credentials"
    elseif #value > settings["max-token-bytes"] + #"Bearer " then
        return nil, "token_too_long"
    elseif not isPlain and not isOtherScheme(value) then
        -- A comma or a space means a second token or a parameter (RFC 6750, section 2.1).
        local token = tokenOf(value)
        if not token or token == "" or token:find("[ ,]") then
            return value, "malformed_credentials"
        end
    end
    return value
end

local function isSameToken(one, other)
    if one == other then
        return true
    end
    local token = tokenOf(one)
    return token ~= nil and token == tokenOf(other)
end

-- The end of the token: finds an entry, and decides nothing.
local function tailOf(credentials)
    if #credentials > 2 * TAIL_BYTES then
        return credentials:sub(-TAIL_BYTES)
    end
    return tokenOf(credentials) or credentials
end

-- The credentials of the common case, for a look into the cache; nil also where they need a closer
-- look. `headerNames` holds every name of the request: once "authorization" is at most one such
-- header.
local function readPlainCredentials(txn, headerNames)
    local _, last = headerNames:find("authorization", 1, true)
    if not last or headerNames:find("authorization", last + 1, true) then
        return nil
    end
    local value = txn.sf:req_fhdr("authorization")
    -- Another name has the word in it.
    return value ~= "" and value or nil
end

-- Sessions --------------------------------------------------------------------------------------
-- After sign-in the browser has a cookie that the verifier sealed. The cookie is valid only on the
-- host it was made for. So the credentials of a session are the host and the whole cookie value. A
-- line break in front keeps them different from any token.

local SESSION_COOKIE = "__Host-entra-session"
local SESSION_LIMIT = 4096
local RETURN_LIMIT = 1024
local SESSION_START = "/oauth2/start"

-- The session of a request. Nil if there is none or more than one, because then it is unclear which
-- one the browser means. Only for a request without `Authorization`: otherwise only the token
-- counts. Also returns whether a cookie of that name was sent, in any form and number.
--
-- HAProxy finds the name in other spellings too: behind a comma or a tab, or with a space before the
-- equals sign. The configuration removes the cookie only as browsers write it. In another spelling it
-- would reach the application, and a comma may be part of the value of a cookie that another host set.
local function readSession(txn, headerNames)
    local count = headerNames:find("cookie", 1, true) and txn.f:req_cook_cnt(SESSION_COOKIE) or 0
    if count ~= 1 or txn.f:req_fhdr_cnt("host") ~= 1 then
        return nil, count > 0
    end
    local cookies, host = ";" .. txn.sf:req_fhdr("cookie"), txn.sf:req_fhdr("host")
    if headerNames:find("cookie.*cookie") then
        cookies = ""
        for i = 1, txn.f:req_fhdr_cnt("cookie") do
            cookies = cookies .. ";" .. txn.sf:req_fhdr("cookie", i)
        end
    end
    local _, named = cookies:find("%f[%w_=-]__Host%-entra%-session[ \t]*=")
    local _, plain = cookies:find("; *__Host%-entra%-session=")
    local cookie = plain and plain == named and cookies:match("^[%w_-]+%f[;\0]", plain + 1)
    if
        not cookie
        or #cookie > SESSION_LIMIT
        or cookies:find("%f[%w_=-]__Host%-entra%-session[ \t]*=", plain)
        or #host > 255
        or not host:find("^[%w._:%[%]-]+$")
    then
        return nil, true
    end
    local credentials = "\n" .. host:lower() .. "\n" .. cookie
    return { cookie = cookie, host = host, credentials = credentials }, true
end

-- Whether a person goes to another page with this request: then the browser shows what comes back.
local function isNavigation(txn)
    for _, name in ipairs({ "sec-purpose", "purpose", "x-purpose", "x-moz" }) do
        local purpose = txn.sf:req_fhdr(name):lower()
        if purpose:find("prefetch", 1, true) or purpose:find("^pre[rv]") then
            return false
        end
    end
    -- Fetch Metadata without a mode is not a browser too old for it.
    if txn.sf:req_hdr_names():find("sec-fetch-", 1, true) then
        return txn.sf:req_fhdr("sec-fetch-mode") == "navigate"
            and txn.sf:req_fhdr("sec-fetch-dest") == "document"
    end
    return txn.sf:req_fhdr("accept"):lower():find("text/html", 1, true) ~= nil
        and txn.f:req_fhdr_cnt("x-requested-with") == 0
end

-- A browser sends the cookie along with what another site makes it send. With these methods, and for a
-- WebSocket, the request has to come from a page of this very host.
local function isCrossSite(txn, headerNames)
    local method = txn.sf:method()
    local isSafe = method == "GET" or method == "HEAD" or method == "OPTIONS"
    -- Browsers send Upgrade-Insecure-Requests with each page that a person opens.
    local isUpgrade = headerNames:find("upgrade", 1, true) and txn.f:req_fhdr_cnt("upgrade") > 0
    if isSafe and not isUpgrade then
        return false
    end
    local sites = txn.f:req_fhdr_cnt("sec-fetch-site")
    if sites > 0 then
        local site = txn.sf:req_fhdr("sec-fetch-site")
        return sites > 1 or not (site == "same-origin" or site == "none")
    elseif txn.f:req_fhdr_cnt("origin") ~= 1 then
        return true
    end
    local host = txn.sf:req_fhdr("host"):lower()
    local scheme, from = txn.sf:req_fhdr("origin"):lower():match("^(https?)://([^/]+)$")
    local hostName = host:gsub(":%d+$", "")
    local isLoopback = hostName == "localhost" or hostName == "127.0.0.1" or hostName:find("%.localhost$")
    if scheme == "http" and not isLoopback then
        return true
    end
    local function plain(name)
        return scheme == "https" and name:gsub(":443$", "") or name
    end
    return not from or plain(from) ~= plain(host)
end

-- Whether req.hdrs gave all header fields. It ends with an empty line, and HAProxy returns nothing after a
-- zero byte. No value contains a line break.
local function isComplete(headers)
    return headers:byte(-3) == 10
end

-- Finds a cached session in the header fields of a request, as req.hdrs returns them: one per line, names
-- in lower case, an empty line at the end. One fetch of all fields costs less than a fetch of each.
local findSession
do
    local find, sub, byte = string.find, string.sub, string.byte
    local NAME = "__Host-entra-session"
    local COOKIE, HOST, SITE = "\ncookie:", "\nhost:", "\nsec-fetch-site:"

    -- The entry of the session, and whether the browser says that a page of this host made the request.
    -- Nil if there is no entry, or if the fetches have to look closer: the cookies are not written as
    -- browsers write them, or something is there twice. The caller has checked that the fields are
    -- complete; `first` is their first byte. One function, because calls cost as much as searches.
    function findSession(bucket, headers, first)
        local _, last = find(headers, COOKIE, 1, true)
        local stop = last and find(headers, "\r\n", last, true)
        if not stop or find(headers, COOKIE, stop, true) then
            return nil
        elseif first == 99 and sub(headers, 1, 7) == "cookie:" then
            return nil
        end
        local start, named = find(headers, NAME, last, true)
        if not start or named >= stop then
            return nil
        elseif start ~= last + 2 then
            local semicolon, space = byte(headers, start - 2, start - 1)
            local quote = find(headers, '"', last, true)
            if semicolon ~= 59 or space ~= 32 or (quote and quote < start) then
                return nil
            end
        end
        local to = find(headers, ";", named, true)
        if not to or to > stop then
            to = stop
        elseif find(headers, NAME, to, true) then
            return nil
        end
        local entry = bucket[sub(headers, to - TAIL_BYTES, to - 1)]
        -- HAProxy reads "name =value" as a cookie of that name too: this begins with the equals sign.
        local cookie = entry and entry.cookie
        if not cookie or #cookie ~= to - named - 1 or #cookie <= 2 * TAIL_BYTES + 1 then
            return nil
        elseif find(headers, cookie, named + 1, true) ~= named + 1 then
            return nil
        end
        -- The host is the first field with HTTP/1, and the last one with HTTP/2.
        local host, line = entry.hostLine, find(headers, HOST, 1, true)
        if not line then
            if find(headers, host, 1, true) ~= 1 then
                return nil
            end
        elseif
            find(headers, host, line + 1, true) ~= line + 1
            or find(headers, HOST, line + 1, true)
            or (first == 104 and sub(headers, 1, 5) == "host:")
        then
            return nil
        end
        start, last = find(headers, SITE, 1, true)
        if
            not start
            or find(headers, "\nsec-fetch-site: same-origin\r\n", start, true) ~= start
            or find(headers, SITE, last, true)
            or (first == 115 and sub(headers, 1, 15) == "sec-fetch-site:")
        then
            return entry, false
        end
        return entry, true
    end
end

-- Where to sign in, and the way back to this page: the path that the verifier says, and `rd`.
local function signInLocation(txn, start)
    local path, query = txn.sf:path(), txn.sf:query()
    local target = query == "" and path or path .. "?" .. query
    if #target > RETURN_LIMIT or not target:find("^/") then
        target = "/"
    end
    local separator = start:find("?", 1, true) and "&" or "?"
    return start .. separator .. "rd=" .. percentEncode(target)
end

-- A browser sends a preflight without credentials and takes no for an answer from the application
-- only; whether these pass is the operator's choice.
local function isPreflight(txn)
    return txn.sf:method() == "OPTIONS"
        and txn.sf:req_fhdr("origin") ~= ""
        and txn.sf:req_fhdr("access-control-request-method") ~= ""
        and txn.f:req_fhdr_cnt("authorization") == 0
end

-- For the verifier's log only, so an odd value is left out and a long one cut.
local function logLines(value)
    if value == "" then
        return nil
    end
    return linesOf(#value > LOG_VALUE_LIMIT and value:sub(1, LOG_VALUE_LIMIT) or value)
end

local function isTls(txn)
    local value = txn.f:ssl_fc()
    -- 1 or true, depending on tune.lua.bool-sample-conversion.
    return value == 1 or value == true
end

-- Whether the last allow was a prepared value. A verifier that prepares also reads what it logs about the
-- request out of one header, because each header of a call costs.
local isPrepared = false

local verifyHeaders
do
    local contract, prepared, userAgent = { CONTRACT }, { "2" }, { OWN_NAME }
    local https, http = { "https" }, { "http" }
    local callerKey = settings["caller-key"] and { settings["caller-key"] }
    local none = { "" }

    local function readTraceparent(txn, headerNames)
        local value = headerNames:find("traceparent", 1, true) and txn.sf:req_fhdr("traceparent")
        return value and isTraceparent(value) and { value } or nil
    end

    -- A fixed handful: every header of the client could overrun HAProxy's own header table, and the
    -- verdict depends on the policy and the token alone.
    function verifyHeaders(txn, headerNames, credentials, session, requestId, address)
        local fetches = txn.sf
        local method = logLines(fetches:method())
        local host = logLines(fetches:req_fhdr("host"))
        -- The path without its query: queries carry tokens and personal data.
        local path = logLines(fetches:path())
        local from = logLines(address)
        if isPrepared and not session then
            local one = "2\t"
                .. (method or none)[1]
                .. "\t"
                .. (host or none)[1]
                .. "\t"
                .. (path or none)[1]
                .. "\t"
                .. (from or none)[1]
            return {
                ["x-entra-auth-contract"] = contract,
                ["x-entra-auth-prepared"] = { one },
                ["user-agent"] = userAgent,
                ["authorization"] = credentials and { credentials },
                ["x-entra-auth-key"] = callerKey,
                ["x-request-id"] = requestId and { requestId },
                ["traceparent"] = readTraceparent(txn, headerNames),
            }
        end
        return {
            ["x-entra-auth-contract"] = contract,
            -- The prepared value has no room for what an allow of a session says besides.
            ["x-entra-auth-prepared"] = not session and prepared or nil,
            ["user-agent"] = userAgent,
            ["x-entra-auth-session"] = session and { session.cookie } or nil,
            -- A person looks at what comes back, so a refusal should be a page.
            ["x-entra-auth-page"] = session and isNavigation(txn) and { "1" } or nil,
            ["authorization"] = not session and credentials and { credentials } or nil,
            ["x-entra-auth-key"] = callerKey,
            ["x-request-id"] = requestId and { requestId } or nil,
            ["traceparent"] = readTraceparent(txn, headerNames),
            ["x-forwarded-method"] = method,
            ["x-forwarded-proto"] = isTls(txn) and https or http,
            ["x-forwarded-host"] = host,
            ["x-forwarded-uri"] = path,
            ["x-forwarded-for"] = from,
        }
    end
end

local function readRequestId(txn, headerNames)
    if not headerNames:find("x-request-id", 1, true) then
        return nil
    end
    local value = txn.sf:req_fhdr("x-request-id")
    return isRequestId(value) and value or nil
end

-- Outcomes --------------------------------------------------------------------------------------
-- A plain table: {ok = true, status = 200, names, values, user, …} or {ok = false, status, reason,
-- body, challenges, retryAfter}. Nothing touches the request before the outcome is complete.

local function challengeFor(failure, start)
    if failure.status ~= 401 and failure.error ~= "invalid_request" then
        return {}
    end
    return {
        ('%s, error="%s", error_description="%s"'):format(
            start or 'Bearer realm="entra-id"',
            failure.error,
            failure.text:gsub('"', "'")
        ),
    }
end

-- `start` of its challenge: that of the policy, where it is known.
local function refuse(reason, start)
    local failure = FAILURES[reason]
    return {
        ok = false,
        status = failure.status,
        reason = reason,
        error = failure.error,
        text = failure.text,
        challenges = challengeFor(failure, start),
        retryAfter = failure.status == 503 and RETRY_AFTER_SECONDS
            or failure.status == 429 and BAD_TOKENS_RETRY_SECONDS
            or nil,
    }
end

local function unavailable(detail)
    logOnceInAWhile("unavailable", "no answer that can be used from the verifier: " .. detail)
    return refuse("verifier_unavailable")
end

local function badSetup(detail)
    logOnceInAWhile("bad_setup", detail)
    return refuse("bad_setup")
end

-- Reply of the verifier -------------------------------------------------------------------------

-- The one value of a header; nil where there is none. Two values where one is expected are an
-- answer that two programs could read differently.
local function single(headers, name)
    local lines = headers[name]
    if not lines or lines[0] == nil then
        return nil
    elseif lines[1] ~= nil then
        return nil, ("%s stands in it twice"):format(name)
    elseif not linesOf(lines[0]) then
        return nil, ("%s has a character that is not printable ASCII"):format(name)
    end
    return lines[0]
end

local function contractProblem(theirs)
    if theirs == CONTRACT then
        return nil
    elseif theirs == nil then
        return "the answer has no X-Entra-Auth-Contract: upgrade the verifier, or correct the "
            .. "address if another program answers there"
    end
    local older = tonumber(theirs) and tonumber(theirs) < tonumber(CONTRACT)
    return ("the verifier speaks contract %s, entra-auth.lua speaks %s: upgrade %s"):format(
        theirs:sub(1, 16),
        CONTRACT,
        older and "the verifier" or "entra-auth.lua"
    )
end

-- The names that the verifier manages. The list is the same in every answer of a configuration.
local lastManaged

local readManagedList
do
    -- The beginning that all names have in common, empty where there is none.
    local function commonStem(names)
        local stem = names[1] or ""
        for _, name in ipairs(names) do
            while name:sub(1, #stem) ~= stem do
                stem = stem:sub(1, -2)
            end
        end
        return stem
    end

    local managedLists = 0

    function readManagedList(list)
        local known = lastManaged
        if known and known.list == list then
            return known
        end
        local names, seen = {}, {}
        for item in list:gmatch("[^,]+") do
            local name = item:match("^%s*(.-)%s*$"):lower()
            if not name:find("^[%w][%w_-]*$") or NEVER_IDENTITY[name] or seen[name] then
                return nil, "X-Entra-Auth-Headers has a name that is twice there or no identity's"
            end
            seen[name] = true
            names[#names + 1] = name
        end
        local stem = commonStem(names)
        managedLists = managedLists + 1
        local managed = {
            list = list,
            -- What the fast lane says of headers that it has compared with this list. It has no more than what the
            -- configuration takes off before it looks for a hit.
            marker = "-" .. managedLists,
            -- Names the list among threads, once it is needed.
            hash = nil,
            names = names,
            stem = stem,
            -- As a line of req.hdrs begins, and the first byte of such a line; nil where there is no stem.
            line = stem ~= "" and "\n" .. stem or nil,
            first = stem:byte(),
            -- What a prepared value calls an order → these names in it.
            orders = {},
            orderCount = 0,
        }
        lastManaged = managed
        return managed
    end
end

local function readManaged(headers)
    local list, problem = single(headers, "x-entra-auth-headers")
    if not list then
        return nil, problem or "X-Entra-Auth-Headers is missing"
    end
    return readManagedList(list)
end

-- The identity headers that have a value, the largest last.
local function readIdentity(headers, outcome)
    local managed, problem = readManaged(headers)
    if not managed then
        return problem
    end
    local present = {}
    for _, name in ipairs(managed.names) do
        local value, valueProblem = single(headers, name)
        if valueProblem then
            return valueProblem
        elseif value and value ~= "" then
            present[#present + 1] = { name = name, value = value, size = #name + #value }
        end
    end
    table.sort(present, function(a, b)
        return a.size < b.size
    end)
    local names, values = {}, {}
    for index, header in ipairs(present) do
        names[index], values[index] = header.name, header.value
    end
    outcome.managed, outcome.names, outcome.values = managed, names, values
    return nil
end

-- Free for the variables, whatever the set of identity headers is.
local function readAbout(headers, outcome)
    for _, name in ipairs({ "user", "tenant", "client", "actor", "token-id" }) do
        local value, problem = single(headers, "x-entra-auth-" .. name)
        if problem then
            return problem
        end
        outcome[(name:gsub("-", "_"))] = value ~= "" and value or nil
    end
    return nil
end

-- When the token was issued, in seconds; nil when the verifier does not say enough to find its revocations.
-- Such a verdict is not cached.
local function readIssuedAt(tenant, issuedAt, keyId)
    if tenant == "" or keyId == "" or not issuedAt:find("^%d+$") then
        return nil
    end
    return tonumber(issuedAt)
end

-- What revocations name besides what `readAbout` reads.
local readRevocable
do
    local NEEDED = {
        "x-entra-auth-user",
        "x-entra-auth-tenant",
        "x-entra-auth-client",
        "x-entra-auth-token-id",
        "x-entra-auth-issued-at",
        "x-entra-auth-key-id",
    }

    function readRevocable(headers, outcome)
        for _, name in ipairs(NEEDED) do
            if not single(headers, name) then
                return
            end
        end
        local keyId = single(headers, "x-entra-auth-key-id")
        outcome.issuedAt =
            readIssuedAt(outcome.tenant or "", single(headers, "x-entra-auth-issued-at"), keyId)
        outcome.keyId = keyId
        outcome.sessionId = single(headers, "x-entra-auth-session-id")
        outcome.entraSession = single(headers, "x-entra-auth-session-sid")
    end
end

local readMaxAge
do
    local function parseSeconds(text)
        return text and #text <= 9 and math.tointeger(tonumber(text)) or 0
    end

    -- The verifier permits this action more than other caches, because it hears of revocations.
    local function parseMaxAge(text)
        local seconds, own
        for directive in text:lower():gmatch("[^,%s]+") do
            if
                directive:find("^no%-")
                or (seconds and directive:find("^max%-age"))
                or (own and directive:find("^entra%-auth%-max%-age"))
            then
                return 0
            end
            seconds = seconds or directive:match("^max%-age=(%d+)$")
            own = own or directive:match("^entra%-auth%-max%-age=(%d+)$")
        end
        local any = parseSeconds(seconds)
        return any > 0 and own and parseSeconds(own) or any
    end

    -- The last one: nearly every answer has the same. Text and number are in one table, which is
    -- replaced as a whole.
    local last = { text = "", seconds = 0 }

    function readMaxAge(headers)
        local text, known = single(headers, "cache-control") or "no-store", last
        if known.text ~= text then
            known = { text = text, seconds = parseMaxAge(text) }
            last = known
        end
        return known.seconds
    end
end

local readPrepared, namesOf
do
    -- "2", the size of the format in four digits, the format, the fields, and seven characters that make the
    -- checksum of the whole zero. The format has the length of each field, as string.unpack reads it.
    local FORM, FORMAT, SEAL_BYTES = 50, 6, 7
    -- Different orders are few: the largest header and those without a value change from token to token.
    local ORDER_LIMIT = 256
    local sub, byte, unpack = string.sub, string.byte, string.unpack

    -- The managed names in this order: a letter for each, "A" for the first of the list. Nil where a letter
    -- stands for none of them, or comes twice.
    local function createOrder(managed, order)
        local names, seen = {}, {}
        for index = 1, #order do
            local name = managed.names[byte(order, index) - 64]
            if not name or seen[name] then
                return nil
            end
            seen[name] = true
            names[index] = name
        end
        names.order = order
        if managed.orderCount >= ORDER_LIMIT then
            managed.orders, managed.orderCount = {}, 0
        end
        managed.orders[order] = names
        managed.orderCount = managed.orderCount + 1
        return names
    end

    -- The names of an order, or nil.
    function namesOf(managed, order)
        return managed.orders[order] or createOrder(managed, order)
    end

    -- Whether the last header is the largest: if it fits into the buffer, the others did before it.
    local function isLargestLast(names, values)
        local count = #names
        local largest = count > 0 and #names[count] + #values[count] or 0
        for index = 1, count - 1 do
            if #names[index] + #values[index] > largest then
                return false
            end
        end
        return true
    end

    local function readFields(maxAgeSeconds, list, order, version, user, tenant, client, actor, tokenId, issuedAt, keyId, ...)
        if not keyId then
            return nil, "X-Entra-Auth-Prepared has too few fields"
        end
        -- One look: the feed can change it in between.
        local managed, problem = lastManaged, nil
        if not managed or managed.list ~= list then
            managed, problem = readManagedList(list or "")
            if not managed then
                return nil, problem
            end
        end
        local values, names = { ... }, namesOf(managed, order)
        -- The position behind the fields.
        local after = names and values[#names + 1]
        values[#values] = nil
        if not after or #values ~= #names then
            return nil, "X-Entra-Auth-Prepared has headers that do not fit its list"
        end
        return {
            ok = true,
            status = 200,
            -- Without these there is no variable.
            user = user ~= "" and user or nil,
            tenant = tenant ~= "" and tenant or nil,
            client = client ~= "" and client or nil,
            actor = actor ~= "" and actor or nil,
            token_id = tokenId ~= "" and tokenId or nil,
            managed = managed,
            names = names,
            values = values,
            version = version,
            issuedAt = readIssuedAt(tenant, issuedAt, keyId),
            keyId = keyId,
            maxAgeSeconds = maxAgeSeconds,
            policy = nil,
            cache = "miss",
            ms = 0,
            -- Room for what makes it an entry of the cache.
            prepared = nil,
            isShareable = nil,
            credentials = nil,
            tail = nil,
            size = nil,
            expiresMs = nil,
            used = nil,
            seen = nil,
            newer = nil,
            older = nil,
            native = nil,
        }, after
    end

    -- An allow as one value: reading some 25 headers one by one costs more than all the rest of a call.
    -- The comment of `formatPrepared` in the verifier lists the fields. The verifier prepares only what is
    -- printable, HAProxy lets no line break of an answer pass, and the checksum of an answer, which its reader
    -- checks, shows what another program changed. So the characters are not checked once more. The value is the
    -- start of `text`, so long. What threads share `isNew` no more: it was looked at before. Returns the outcome, or nil
    -- and what is wrong with the value.
    function readPrepared(text, length, maxAgeSeconds, isNew)
        if byte(text) ~= FORM then
            return nil, "X-Entra-Auth-Prepared has a form that is not known here"
        end
        local size = tonumber(sub(text, 2, FORMAT - 1))
        if not size then
            return nil, "X-Entra-Auth-Prepared has no format"
        end
        local start = FORMAT + size
        local outcome, after = readFields(maxAgeSeconds, unpack(sub(text, FORMAT, start - 1), text, start))
        if not outcome then
            return nil, after
        elseif after + SEAL_BYTES - 1 ~= length then
            return nil, "X-Entra-Auth-Prepared has more or less in it than it says"
        elseif isNew and not isLargestLast(outcome.names, outcome.values) then
            return nil, "X-Entra-Auth-Prepared has a header that is larger than its last one"
        end
        return outcome
    end
end

-- The allow of a prepared value, if there is nothing beside it that says something else.
local function judgePrepared(txn, headers)
    local lines = headers["x-entra-auth-prepared"]
    if lines[1] ~= nil or headers["x-entra-auth-report"] or headers["x-entra-auth-headers"] then
        return unavailable("an allow with a prepared value and something else")
    end
    stopCounting()
    local prepared, maxAgeSeconds = lines[0], readMaxAge(headers)
    local outcome, problem
    if txn.c:djb2(prepared) == 0 then
        outcome, problem = readPrepared(prepared, #prepared, maxAgeSeconds, true)
    else
        problem = "X-Entra-Auth-Prepared is not what its checksum says"
    end
    isPrepared = outcome ~= nil
    if not outcome then
        return unavailable(problem)
    end
    outcome.prepared = prepared
    return outcome
end

local function judgeAllow(txn, headers, body)
    local lines, problem = headers["x-entra-auth-verdict"], nil
    if not lines or lines[0] ~= "allow" or lines[1] ~= nil then
        local _, twice = single(headers, "x-entra-auth-verdict")
        return unavailable(twice or "status 200 without X-Entra-Auth-Verdict: allow")
    elseif headers["x-entra-auth-reason"] or (body and body ~= "") then
        return unavailable("an allow with the reason of a refusal, or with a body")
    end
    local setup = contractProblem(single(headers, "x-entra-auth-contract"))
    if setup then
        return badSetup(setup)
    end
    if headers["x-entra-auth-prepared"] then
        return judgePrepared(txn, headers)
    end
    isPrepared = false
    local outcome = { ok = true, status = 200 }
    problem = readIdentity(headers, outcome) or readAbout(headers, outcome)
    local report, reportProblem = single(headers, "x-entra-auth-report")
    problem = problem or reportProblem
    if problem or (report and not isReason(report)) then
        return unavailable(problem or "X-Entra-Auth-Report is not a reason code")
    end
    if report then
        -- A policy on probation: admitted, but as nobody.
        outcome.reason = report
        outcome.names, outcome.values = {}, {}
    elseif isCacheOn then
        outcome.version = single(headers, "x-entra-auth-version")
        outcome.maxAgeSeconds = readMaxAge(headers)
        readRevocable(headers, outcome)
    end
    outcome.isSession = headers["x-entra-auth-session-id"] ~= nil
    outcome.allowsCrossSite = single(headers, "x-entra-auth-cross-site") == "allow"
    outcome.isRecheckDue = headers["x-entra-auth-recheck"] ~= nil
    return outcome
end

-- Every line by itself: joined, two challenges can be read as one.
local function readChallenges(headers)
    local lines, challenges, size = headers["www-authenticate"] or {}, {}, 0
    local index = 0
    while lines[index] do
        size = size + #lines[index]
        if size > CHALLENGE_LIMIT or not isPrintable(lines[index]) then
            return nil
        end
        challenges[#challenges + 1] = lines[index]
        index = index + 1
    end
    return challenges
end

local function readBody(headers, body)
    local kind = single(headers, "content-type") or ""
    local policy = single(headers, "content-security-policy")
    if not body or #body == 0 or #body > BODY_LIMIT then
        return nil
    elseif kind:find("^application/json") then
        return body
    elseif kind == HTML and policy and isPrintable(policy) then
        return body, policy
    end
    return nil
end

local function readRetryAfter(headers)
    local seconds = tonumber((single(headers, "retry-after") or ""):match("^%d+$"))
    if not seconds or seconds > RETRY_AFTER_LIMIT_SECONDS then
        return RETRY_AFTER_SECONDS
    end
    return math.tointeger(seconds)
end

-- Where to sign in: a path of this host with at most one plain argument, or nothing.
local function readSignIn(headers)
    local value = single(headers, "x-entra-auth-sign-in") or ""
    return value:find("^/[%w/_-]+$") and not value:find("^//") and value
        or value:match("^/oauth2/start%?[%w_]+=[%w_-]+$")
end

-- Passes the verifier's answer to the client unchanged, as far as that is safe.
local function judgeRefusal(status, reason, headers, body)
    local challenges = readChallenges(headers)
    if not challenges then
        return unavailable("a challenge that cannot be repeated")
    end
    local text, pagePolicy = readBody(headers, body)
    return {
        ok = false,
        status = status,
        reason = reason,
        error = "access_denied",
        text = "The request was refused.",
        challenges = challenges,
        body = text,
        pagePolicy = pagePolicy,
        retryAfter = status == 503 and readRetryAfter(headers) or nil,
        signIn = status == 401 and readSignIn(headers) or nil,
    }
end

-- What HAProxy and Node answer to header fields that do not fit into their buffers.
local TOO_LARGE = { [400] = true, [413] = true, [431] = true }
-- Below this, a call fits into every buffer.
local LARGE_TOKEN_BYTES = 4096

local REPEATED = { [400] = true, [401] = true, [403] = true, [503] = true }

-- The only place that decides whether an answer is valid. Only status 200 with the verdict `allow`
-- passes. A refusal has a reason code, so an answer without one comes from another program.
local function judge(txn, response, policy, credentials)
    local status, headers = response.status, response.headers or {}
    if status == 200 then
        return judgeAllow(txn, headers, response.body)
    end
    local reason = single(headers, "x-entra-auth-reason")
    if reason and not isReason(reason) then
        reason = nil
    end
    local contract = single(headers, "x-entra-auth-contract")
    if reason and contract and contract ~= CONTRACT then
        return badSetup(contractProblem(contract))
    elseif reason == "verification_loop" then
        return badSetup("the address of the verifier leads back to HAProxy itself")
    elseif status == 404 and reason == "unknown_policy" then
        logOnceInAWhile("unknown_policy", "the verifier has no policy " .. policy)
        return refuse("unknown_policy")
    elseif status == 404 or status == 405 then
        return badSetup(("the verifier answers %d: another program at its address?"):format(status))
    elseif reason == "caller_not_allowed" then
        return badSetup("the verifier refuses the caller key: see ENTRA_AUTH_CALLER_KEY")
    elseif reason and REPEATED[status] then
        return judgeRefusal(status, reason, headers, response.body)
    elseif TOO_LARGE[status] and #(credentials or "") > LARGE_TOKEN_BYTES then
        logOnceInAWhile(
            "token_does_not_fit",
            ("a token of %d bytes does not fit into a call: raise tune.bufsize"):format(#credentials)
        )
        return refuse("token_does_not_fit")
    end
    return unavailable(("status %s"):format(tostring(status)))
end

-- Revocations -----------------------------------------------------------------------------------
-- What the verifier said in `GET /revocations`, a state and no log: replicas may answer in turn.
-- Nothing here admits anything. While there is no good answer, no remembered verdict is used.

local function eachKind()
    return { user = {}, client = {}, token = {}, tenant = {}, key = {}, session = {} }
end

-- A table that grows is built anew in one step: with ten thousand ids that takes milliseconds. So they are in
-- many small tables, by their last two characters.
local SHARDS = 64
local function shardOf(id)
    local one, other = id:byte(-2, -1)
    return ((one or 0) * 31 + (other or 0)) % SHARDS
end

local feed = {
    -- Until then what the last good answer said may be relied on.
    usableUntilMs = 0,
    -- Another table whenever something else was said, never a changed one: an entry that was compared
    -- with this very table needs no other look.
    known = {
        version = nil,
        -- kind → shard → id → up to when it is revoked, and until when this counts, in seconds. Tables of
        -- numbers: ten thousand small tables would be as many objects for the garbage collector of each thread.
        revoked = eachKind(),
        endings = eachKind(),
        count = 0,
        -- The kinds that are in `revoked`: a verdict is looked up for no other.
        kinds = {},
        -- policy → challenge of a request without credentials.
        challenges = {},
    },
    etag = nil,
    -- Tags of the last answers, that one at the end. What each of them listed is known here, whatever replica gave it.
    tags = {},
    -- When all is read again: since the last time, nothing that ended was dropped.
    wholeDueMs = nil,
    -- When the last good answer was asked for.
    goodAtMs = nil,
    loggedProblem = nil,
}

local readFeed
do
    -- Ids of tokens and keys arrive percent-encoded in X-Entra-Auth-*, and letters count in them; the
    -- others are GUIDs.
    local function revocationId(kind, id)
        if kind == "token" or kind == "key" or kind == "session" then
            return (id:gsub("%%", "%%25"))
        end
        return id:lower()
    end

    -- The value of a member and what separates it from the next one, or nil.
    local function parseMember(name, text, position)
        if name == "kind" or name == "id" then
            return text:match('^"([ !#-Z%[%]^-~]+)"%s*([,}])()', position)
        elseif name == "before" or name == "until" then
            local digits, separator, after = text:match("^(%d+%.?%d*)%s*([,}])()", position)
            return digits and #digits <= 20 and tonumber(digits) or nil, separator, after
        end
        return nil
    end

    -- One revocation from `position` on: exactly the members kind, id, before and until, in any order.
    -- Returns these four and the position behind it, or nil.
    local function parseRevocation(text, position)
        -- As the verifier writes it: one look in place of nine.
        local kind, id, before, ending, last = text:match(
            '^%s*{"kind":"(%l+)","id":"([ !#-Z%[%]^-~]+)","before":(%d+),"until":(%d+)}()',
            position
        )
        if last and feed.known.revoked[kind] and #before <= 20 and #ending <= 20 then
            return kind, id, tonumber(before), tonumber(ending), last
        end
        local members = {}
        position = text:match("^%s*{()", position)
        for count = 1, 4 do
            local name, start = text:match('^%s*"(%l+)"%s*:%s*()', position or #text + 1)
            if not name or members[name] ~= nil then
                return nil
            end
            local value, separator, after = parseMember(name, text, start)
            if value == nil or (separator == "}") ~= (count == 4) then
                return nil
            end
            members[name], position = value, after
        end
        if not feed.known.revoked[members.kind] then
            return nil
        end
        return members.kind, members.id, members.before, members["until"], position
    end

    -- A string of JSON with no other escapes than \" and \\ from `position` on: the text and the position
    -- behind it, or nil.
    local function parseString(text, position)
        local start = text:match('^%s*"()', position)
        local from = start
        while start do
            local stop, char = text:match('^[^"\\%c]*()(["\\])', start)
            if not stop then
                return nil
            elseif char == '"' then
                return (text:sub(from, stop - 1):gsub("\\(.)", "%1")), stop + 1
            elseif not text:find('^["\\]', stop + 1) then
                return nil
            end
            start = stop + 2
        end
        return nil
    end

    -- The end of the answer: "challenges": {"POLICY": "…"} in form 2, nothing else.
    local function parseChallenges(text, position)
        local challenges = {}
        if text:find("^%s*}%s*$", position) then
            return challenges
        end
        position = text:match('^%s*,%s*"challenges"%s*:%s*{()', position)
        local tail = position and text:match("^%s*}()", position)
        while position and not tail do
            local policy, afterPolicy = parseString(text, position)
            local colon = policy and text:match("^%s*:()", afterPolicy)
            local value, afterValue = parseString(text, colon or #text + 1)
            if not value or not isPrintable(value) or #value > CHALLENGE_LIMIT then
                return nil, "the challenges of the answer cannot be read"
            end
            challenges[policy] = value
            local separator, following = text:match("^%s*([,}])()", afterValue)
            tail = separator == "}" and following or nil
            position = separator == "," and following or nil
        end
        if not tail or not text:find("^%s*}%s*$", tail) then
            return nil, "there is more in the answer than what is known"
        end
        return challenges
    end

    -- Ten thousand revocations take tens of milliseconds to read and merge. Pauses let the thread serve its
    -- connections. `core.yield` would not: HAProxy 2.6 runs this task again before it looks at them.
    local PAUSE_EVERY = 100

    local function pauseNowAndThen(known)
        known.handled = known.handled + 1
        if known.handled % PAUSE_EVERY == 0 then
            core.msleep(1)
        end
    end

    -- A small table that the last answer has too does not change, because verdicts are compared with it. So the
    -- first change makes a copy.
    local function shardToChange(known, kind, shard)
        local revoked, endings = known.revoked[kind][shard], known.endings[kind][shard]
        if not known.isOwn[kind][shard] then
            local shared, sharedEndings = revoked or {}, endings or {}
            revoked, endings = {}, {}
            for id, before in pairs(shared) do
                pauseNowAndThen(known)
                revoked[id], endings[id] = before, sharedEndings[id]
            end
            known.revoked[kind][shard], known.endings[kind][shard] = revoked, endings
            known.isOwn[kind][shard] = true
        end
        return revoked, endings
    end

    -- Of two for one identity, the stricter one counts.
    local function addRevocation(known, kind, id, before, ending)
        pauseNowAndThen(known)
        local revoked, endings = shardToChange(known, kind, shardOf(id))
        local knownBefore = revoked[id]
        if not knownBefore then
            known.count = known.count + 1
            known.kinds[kind] = true
            revoked[id], endings[id] = before, ending
        else
            revoked[id] = math.max(knownBefore, before)
            endings[id] = math.max(endings[id], ending)
        end
    end

    local function newKnown()
        return {
            revoked = eachKind(),
            endings = eachKind(),
            isOwn = eachKind(),
            kinds = {},
            count = 0,
            handled = 0,
        }
    end

    -- The start of an answer that adds to what is known: all of it, in the same small tables.
    local function shareKnown()
        local known = newKnown()
        known.count = feed.known.count
        for kind, shards in pairs(feed.known.revoked) do
            known.kinds[kind] = feed.known.kinds[kind]
            for shard, revoked in pairs(shards) do
                known.revoked[kind][shard] = revoked
                known.endings[kind][shard] = feed.known.endings[kind][shard]
            end
        end
        return known
    end

    -- The start of an answer that says all: what is known, without what has ended.
    local function keepKnown(nowSeconds)
        local known = newKnown()
        for kind, shards in pairs(feed.known.endings) do
            for shard, endings in pairs(shards) do
                local revoked = feed.known.revoked[kind][shard]
                for id, ending in pairs(endings) do
                    if ending > nowSeconds then
                        addRevocation(known, kind, id, revoked[id], ending)
                    end
                end
            end
        end
        return known
    end

    -- A strict parser for this one shape: {"version": "…", "revocations": […], "challenges": {…}}, the
    -- last in form 2. Returns what is known from now on, with the revocations of the last answer, or nil and what
    -- is wrong. What is not understood could be a revocation. Where `dropsEnded`, the answer has to say all.
    function readFeed(text, dropsEnded, nowSeconds)
        if #text > FEED_LIMIT_BYTES then
            return nil, "the answer is too long"
        end
        local version, position =
            text:match('^%s*{%s*"version"%s*:%s*"([ !#-Z%[%]^-~]+)"%s*,%s*"revocations"%s*:%s*%[()')
        if not version then
            return nil, "the answer is not what GET /revocations has to say"
        end
        local known = dropsEnded and keepKnown(nowSeconds) or shareKnown()
        local tail, count = text:match("^%s*%]()", position), 0
        while not tail do
            local kind, id, before, ending, after = parseRevocation(text, position)
            if not kind then
                return nil, ("revocation %d of the answer cannot be read"):format(count + 1)
            end
            count = count + 1
            addRevocation(known, kind, revocationId(kind, id), before, ending)
            if count > REVOCATION_LIMIT or known.count > REVOCATION_LIMIT then
                return nil, "too_many"
            end
            local separator, following = text:match("^%s*([,%]])()", after)
            if separator == "]" then
                tail = following
            elseif not separator then
                return nil, "the list of revocations is cut off"
            end
            position = following
        end
        local challenges, problem = parseChallenges(text, tail)
        known.version, known.challenges = version, challenges
        return challenges and known, problem
    end
end

-- Up to when this is revoked, or nil.
local function revokedBefore(known, kind, id)
    local shard = id and known.kinds[kind] and known.revoked[kind][shardOf(id)]
    return shard and shard[id]
end

-- Up to when one of a tenant is revoked, or nil. The id is put together only where there is a revocation.
local function revokedOf(known, kind, tenant, id)
    return known.kinds[kind] and revokedBefore(known, kind, (tenant .. "/" .. (id or "")):lower())
end

-- Of a verdict. A token, a key or a session is revoked for good, whatever its date; the others up to a moment.
local function isRevoked(known, verdict)
    if known.count == 0 then
        return false
    elseif
        revokedBefore(known, "token", verdict.token_id)
        or revokedBefore(known, "key", verdict.keyId)
        or revokedBefore(known, "session", verdict.sessionId)
        or revokedBefore(known, "session", verdict.entraSession)
    then
        return true
    end
    local tenant, issuedAt = verdict.tenant, verdict.issuedAt
    return (revokedOf(known, "user", tenant, verdict.user) or 0) > issuedAt
        or (revokedOf(known, "client", tenant, verdict.client) or 0) > issuedAt
        or (known.kinds.tenant and revokedBefore(known, "tenant", tenant:lower()) or 0) > issuedAt
end

-- Cache -----------------------------------------------------------------------------------------
-- Allows only, by policy and whole token. An entry is the outcome itself, ready to be used, in a
-- list from the newest to the oldest. A hit moves nothing, it only marks the entry as used, and
-- whatever changes list or table runs `atomically`.

-- policy → end of the credentials → entry
local buckets = {}
local newest, oldest
-- Where the search for an entry to evict, and that for expired ones, go on.
local evictNext, sweepNext

local function isKept(entry)
    local bucket = buckets[entry.policy]
    return bucket ~= nil and bucket[entry.tail] == entry
end

-- Only inside of `atomically`.
local function unlink(entry)
    local newer, older = entry.newer, entry.older
    if evictNext == entry then
        evictNext = newer
    end
    if sweepNext == entry then
        sweepNext = newer
    end
    if newer then
        newer.older = older
    else
        newest = older
    end
    if older then
        older.newer = newer
    else
        oldest = newer
    end
    entry.newer, entry.older = nil, nil
    buckets[entry.policy][entry.tail] = nil
    numbers.entries = numbers.entries - 1
    numbers.bytes = numbers.bytes - entry.size
end

local function forget(entry)
    atomically(function()
        if isKept(entry) then
            unlink(entry)
        end
    end)
end

local function dropEverything()
    buckets = {}
    newest, oldest, evictNext, sweepNext = nil, nil, nil, nil
    numbers.entries, numbers.bytes = 0, 0
end

-- After an error. Only what broke inside of a change may have left the list of the cache half changed. Any
-- other error keeps the cache, or whoever finds a request that causes one could empty it at will.
local function forgetIfBroken()
    gsub("x", "x", function()
        if begun ~= ended then
            dropEverything()
            ended = begun
        end
    end)
end

-- The value for add-headers-bin counts from the start, made or not.
local function entrySize(outcome, credentials)
    -- An entry of a session has the cookie twice.
    local size = ENTRY_BYTES + #credentials * (outcome.isSession and 2 or 1)
    local names, values = outcome.names, outcome.values
    for index = 1, #names do
        size = size + 2 * #values[index] + #names[index]
    end
    return size
end

-- Whether an entry of this size has room only after another one is evicted. Those that threads share take less: they are
-- found all the same, and a smaller cache is less work for Lua's collector.
local function isCacheFull(size, isShareable)
    return numbers.entries >= settings["cache-entries"]
        or numbers.bytes + size > settings[isShareable and "shareable-bytes" or "cache-bytes"]
end

local isPermitted, keepEntry
do
    -- Only inside of `atomically`.
    local function link(entry)
        entry.older = newest
        if newest then
            newest.newer = entry
        else
            oldest = entry
        end
        newest = entry
        numbers.entries = numbers.entries + 1
        numbers.bytes = numbers.bytes + entry.size
    end

    -- Removes the first entry, from the oldest on, that was not used since the last pass (SIEVE, nearly
    -- always better than LRU). Only inside of `atomically`.
    local function evict()
        local entry = evictNext or oldest
        for _ = 1, SECOND_CHANCES do
            if not entry.used then
                break
            end
            entry.used = false
            entry = entry.newer or oldest
        end
        evictNext = entry.newer
        unlink(entry)
        numbers.evictions = numbers.evictions + 1
    end

    -- Only inside of `atomically`.
    local function insert(entry)
        local bucket = buckets[entry.policy]
        if not bucket then
            bucket = {}
            buckets[entry.policy] = bucket
        end
        if bucket[entry.tail] then
            unlink(bucket[entry.tail])
        end
        while newest and isCacheFull(entry.size) do
            evict()
        end
        -- No more than two: what is not shared may take all the room.
        for _ = 1, entry.isShareable and 2 or 0 do
            if newest and isCacheFull(entry.size, true) then
                evict()
            end
        end
        bucket[entry.tail] = entry
        link(entry)
    end

    -- Whether everything known now permits an entry of this version. Returns what is known too.
    function isPermitted(entry, version, expiresMs)
        local known = feed.known
        return version == known.version
            and isBefore(expiresMs)
            and isBefore(feed.usableUntilMs)
            and not isRevoked(known, entry),
            known
    end

    -- Caches an entry of this version if it is permitted, and returns whether it is. A revocation made
    -- during the call is known by now or comes with the next poll. So checking and storing must be one
    -- step.
    function keepEntry(entry, version)
        if entry.size > settings["cache-bytes"] then
            return false
        end
        local isKept
        -- What is shareable was a prepared value, or a verdict of another thread.
        local change = entry.isShareable and inOneStep or atomically
        change(function()
            local known
            isKept, known = isPermitted(entry, version, entry.expiresMs)
            if isKept then
                entry.seen = known
                insert(entry)
            end
        end)
        return isKept
    end
end

local remember
do
    -- An allow in the form in which it is kept. Its time counts from when it was asked for.
    local function createEntry(policy, credentials, outcome, askedAtMs)
        local host, cookie = credentials:match("^\n([^\n]*)\n(.*)$")
        return {
            ok = true,
            status = 200,
            policy = policy,
            user = outcome.user,
            tenant = outcome.tenant,
            client = outcome.client,
            actor = outcome.actor,
            token_id = outcome.token_id,
            cache = "hit",
            ms = 0,
            managed = outcome.managed,
            names = outcome.names,
            values = outcome.values,
            issuedAt = outcome.issuedAt,
            keyId = outcome.keyId,
            sessionId = outcome.sessionId,
            entraSession = outcome.entraSession,
            isSession = outcome.isSession,
            isShareable = outcome.prepared ~= nil,
            allowsCrossSite = outcome.allowsCrossSite,
            isRecheckDue = outcome.isRecheckDue,
            cookie = outcome.isSession and cookie and "=" .. cookie or nil,
            hostLine = host and "host: " .. host .. "\r\n",
            credentials = credentials,
            tail = tailOf(credentials),
            size = entrySize(outcome, credentials),
            expiresMs = askedAtMs + outcome.maxAgeSeconds * 1000,
            used = false,
        }
    end

    -- Caches an allow, if it may be cached.
    function remember(policy, credentials, outcome, askedAtMs)
        if outcome.ok and outcome.issuedAt and outcome.maxAgeSeconds > 0 then
            keepEntry(createEntry(policy, credentials, outcome, askedAtMs), outcome.version)
        end
    end
end

-- Whether an entry may be used now; one that may not is forgotten.
local function isStillGood(entry)
    local known, expiresMs, usableUntilMs = feed.known, entry.expiresMs, feed.usableUntilMs
    if isBefore(expiresMs < usableUntilMs and expiresMs or usableUntilMs) then
        if entry.seen == known then
            return true
        elseif not isRevoked(known, entry) then
            entry.seen = known
            return true
        end
    elseif not isBefore(usableUntilMs) then
        return false
    end
    forget(entry)
    return false
end

-- The cached verdict on these credentials, or nil.
local function recallCredentials(bucket, credentials)
    local entry = bucket[tailOf(credentials)]
    if not entry or not isSameToken(entry.credentials, credentials) or not isStillGood(entry) then
        return nil
    end
    entry.used = true
    atOnce(addOne, "hits")
    return entry
end

-- The cached verdict on this request, or nil. Also returns whether the request is known not to come from
-- another site.
local function recall(txn, policy, headerNames, plain)
    stopCounting()
    -- Where a converter has failed.
    if begun ~= ended and not pcall(forgetIfBroken) then
        return nil
    end
    local bucket = buckets[policy]
    if not bucket then
        return nil
    end
    local credentials = plain
    local entry = plain and #plain > 2 * TAIL_BYTES and bucket[plain:sub(-TAIL_BYTES)]
    if entry and entry.credentials == plain then
        -- The common case. As `recallCredentials`, without its calls: for each level of calls, Lua takes memory anew with
        -- each request.
        if
            not (
                entry.seen == feed.known
                and machineSeconds() == lastSecond
                and lastMs + 1000 < entry.expiresMs
                and lastMs + 1000 < feed.usableUntilMs
            ) and not isStillGood(entry)
        then
            return nil
        end
        entry.used = true
        if canStop then
            numbers.hits = numbers.hits + 1
        else
            count("hits")
        end
        return entry
    elseif not credentials and not headerNames:find("authorization", 1, true) then
        if not headerNames:find("cookie", 1, true) then
            return nil
        end
        local headers = txn.sf:req_hdrs()
        local isFromHere
        if isComplete(headers) then
            entry, isFromHere = findSession(bucket, headers, headers:byte())
        end
        if entry and isStillGood(entry) then
            entry.used = true
            atOnce(addOne, "hits")
            return entry, isFromHere
        end
        local session = readSession(txn, headerNames)
        credentials = session and session.credentials
    end
    return credentials and recallCredentials(bucket, credentials)
end

-- Tokens whose time is over need not stay in memory until others push them out. Each sweep goes on
-- where the last one ended.
local function forgetExpired()
    local function sweepSlice()
        local now = nowMs()
        for _ = 1, SWEEP_SLICE do
            local entry = sweepNext or oldest
            if not entry then
                return
            end
            sweepNext = entry.newer
            if now >= entry.expiresMs then
                unlink(entry)
            end
        end
    end
    for _ = 1, math.min(SWEEP_LIMIT, numbers.entries), SWEEP_SLICE do
        atomically(sweepSlice)
    end
end

-- Hits without the action: the value ------------------------------------------------------------
-- From HAProxy 3.4 on, `add-headers-bin` adds all headers of one value.

local createNative, readNative
do
    -- Between the names that the configuration reads from the end of the value.
    local FIELD_SEPARATOR = "|"

    -- A number in the variable length form of HAProxy (`encode_varint`).
    local function encodeVarint(number)
        if number < 240 then
            return string.char(number)
        end
        local bytes = { string.char(240 + number % 16) }
        number = (number - 240) // 16
        while number >= 128 do
            bytes[#bytes + 1] = string.char(128 + number % 128)
            number = (number - 128) // 128
        end
        bytes[#bytes + 1] = string.char(number)
        return table.concat(bytes)
    end

    -- The value that the configuration reads: the headers for add-headers-bin, which stops after
    -- the empty name, and then status, ms, cache, policy, user, tenant, client, actor and token id,
    -- for the variables. False if a field could be read as two. Also returns where the second part begins.
    function createNative(entry)
        local said = { "200", "0", "hit", entry.policy }
        for _, name in ipairs({ "user", "tenant", "client", "actor", "token_id" }) do
            said[#said + 1] = entry[name] or ""
        end
        local text = table.concat(said, FIELD_SEPARATOR)
        if select(2, text:gsub(FIELD_SEPARATOR, "", #said)) ~= #said - 1 then
            return false
        end
        local parts = {}
        for index, name in ipairs(entry.names) do
            local value = entry.values[index]
            parts[#parts + 1] = encodeVarint(#name) .. name .. encodeVarint(#value) .. value
        end
        local headers = table.concat(parts) .. "\0\0"
        if headers:sub(1, 1) == "-" then
            -- The length of a name, but the configuration would read the mark of a miss.
            return false
        end
        return headers .. FIELD_SEPARATOR .. text, #headers + 1
    end

    -- The number at a position, and the position behind it.
    local function decodeVarint(text, at)
        local number, shift, part = text:byte(at), 4, 128
        if number >= 240 then
            while part >= 128 do
                at = at + 1
                part = text:byte(at)
                number = number + (part << shift)
                shift = shift + 7
            end
        end
        return number, at + 1
    end

    local function readPart(text, at)
        local size, from = decodeVarint(text, at)
        return text:sub(from, from + size - 1), from + size
    end

    -- The names and the values of the headers in a value that `createNative` made.
    function readNative(text)
        local names, values, at, name = {}, {}, 1, nil
        while true do
            name, at = readPart(text, at)
            if name == "" then
                return names, values
            end
            names[#names + 1] = name
            values[#names], at = readPart(text, at)
        end
    end
end

-- Whether the client may have sent a header of a managed name: then the action deletes it.
local function mayHoldManaged(headers, managed)
    for _, name in ipairs(managed.names) do
        if headers:find(name, 1, true) then
            return true
        end
    end
    return false
end

-- HAProxy lets nothing else run in this state while a converter does, so this needs no `count`. It is
-- added to the other numbers before they are shown.
local hitsOfLane = 0
-- Whether the configuration has the second converter of the fast lane: where the request is, and anywhere that
-- this thread has seen.
local sharedLane = { isHere = false, isAnywhere = false }

-- Verdicts of other threads ---------------------------------------------------------------------
-- Each thread has its own Lua state, and all threads share the variables of the process. A verdict is a
-- variable named by a hash of policy and token. Each thread keeps a list of what it shared, and removes the
-- oldest of it once that takes more than its part of `shared-bytes`. So memory is bounded without a list
-- that threads would have to change together. A shared verdict gets the same checks as a verdict of this thread:
-- version, revocations, age, and the age of the feed. The variable has the policy and the SHA-256 of the token, not the
-- token. So the whole token is compared, and a dump of variables shows none.

local share, recallShared, recallSharedNative, markMiss, forgetExpiredShared
do
    -- The prefixes of the variables' names; how many expired verdicts a thread removes about once a second; and the
    -- largest difference between the clocks of two threads.
    local SHARED, LIST, SWEPT, CLOCKS_APART_MS = "proc.entra_auth_verdict_", "proc.entra_auth_list_", 64, 1000
    -- A value begins with the verdict, in one of three forms. NATIVE is what the second converter of the fast lane returns,
    -- so that it need not make it: the headers, what is SAID, and FACTS. These are the time of issue, the hash of the list
    -- of managed names, the id of the key, and the version. Where no fast lane asks for that, PLAIN has a text for each
    -- header and each of PLAIN_FIELDS, and two numbers, all for one look. PREPARED is the value of the verifier. The last
    -- two have the policy behind them.
    local PREPARED, NATIVE, PLAIN = 0, 1, 2
    local SAID = "^|200|0|hit|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|()"
    local FACTS = "<i8i8s1s1"
    -- User, tenant, client, actor, id of the token, id of the key, version, and order of the headers.
    local PLAIN_FIELDS = 8
    -- Then follow the SHA-256 of the credentials and numbers: when the verdict was asked for, for how many seconds it
    -- holds, the length of the verdict or of the headers, and the form, to which PLAIN adds the number of headers.
    local TEXT_DIGEST_BYTES, NUMBERS = 44, "<i8I4I4B"
    local NUMBER_BYTES = string.packsize(NUMBERS)
    local sub, pack, unpack, match = string.sub, string.pack, string.unpack, string.match

    -- HAProxy 3.2, the first with this function, finds variables in a tree; those before go through a list.
    local canShare = isCacheOn and core.get_patref and settings["shared-bytes"] > 0

    -- HAProxy tells the number of threads once it runs. Then there is the part of `shared-bytes` that this Lua state
    -- may use: `limit`, and `whole` as long as HAProxy has room for that.
    local threads, limit, whole
    -- Whether the digest of credentials is in Base64: a converter of the fast lane gets nothing behind a NUL.
    local isDigestText

    -- Of shared verdicts that were found while the cache of this thread was full.
    local ADMITTED, found = 8, 0

    -- Whether a shared verdict saves a call: for other threads, or once the cache of this thread evicts what
    -- it still needs.
    local function isSharing()
        if not canShare or not threads then
            return false
        end
        return threads > 1
            or numbers.evictions > 0
            or numbers.bytes + ENTRY_BYTES > settings["shareable-bytes"]
    end

    local function isShared(txn)
        if canShare and not threads then
            -- Without OpenSSL there is no SHA-256.
            canShare = txn.c.sha2 ~= nil
            if canShare then
                -- A quarter is enough for verdicts that threads share.
                settings["shareable-bytes"] = settings["cache-bytes"] // 4
            end
            local info = core.get_info()
            -- Whatever HAProxy does in there.
            stopCounting()
            local major, minor = tostring(info.Version):match("^(%d+)%.(%d+)")
            isDigestText = not major or tonumber(major) * 100 + tonumber(minor) >= 304
            threads = math.max(1, math.tointeger(tonumber(info.Nbthread)) or 1)
            -- With `lua-load`, this state is that of all threads.
            whole = settings["shared-bytes"] // (core.thread > 0 and threads or 1)
            limit = whole
        end
        return isSharing()
    end

    -- Whether verdicts may be used, and this one was not asked for later than now. The last look at the clock is at most
    -- a second old.
    local function isInTime(askedAtMs)
        return isBefore(feed.usableUntilMs) and askedAtMs <= lastMs + 1000 + CLOCKS_APART_MS
    end

    -- The value of a variable, if it is one of a verdict. Where HAProxy has no room for a value, the variable is there
    -- all the same, with a boolean.
    local function ofVerdict(value)
        return type(value) == "string" and #value > NUMBER_BYTES and value or nil
    end

    local function isOf(value, digest)
        return sub(value, -NUMBER_BYTES - #digest, -NUMBER_BYTES - 1) == digest
    end

    -- What this thread shared, the oldest first: three places of a piece for each, with the hash, when it ends, and
    -- its size. One long table would be built anew in one step whenever it grows.
    local written = { bytes = 0, first = { count = 0 }, passed = 0, last = nil }
    written.last = written.first
    local addWritten, dropWritten
    do
        local PIECE = 3 * 64

        -- Only inside of `atomically`.
        function addWritten(hash, expiresMs, size)
            local piece = written.last
            if piece.count == PIECE then
                piece.next = { count = 0 }
                piece = piece.next
                written.last = piece
            end
            local count = piece.count
            piece[count + 1], piece[count + 2], piece[count + 3] = hash, expiresMs, size
            piece.count = count + 3
            written.bytes = written.bytes + size
        end

        -- The oldest that this thread shared: its hash, when it ends, and its size; nil if there is none. Only
        -- inside of `atomically`.
        local function oldestWritten()
            if written.passed == PIECE and written.first.next then
                written.first, written.passed = written.first.next, 0
            end
            local piece, passed = written.first, written.passed
            if passed < piece.count then
                return piece[passed + 1], piece[passed + 2], piece[passed + 3]
            end
            return nil
        end

        -- Another thread may have written a newer verdict since, which is in its own list.
        local function unsetIfOld(txn, name, expiresMs)
            local value = ofVerdict(txn:get_var(name))
            if value then
                local askedAtMs, seconds = unpack(NUMBERS, value, -NUMBER_BYTES)
                if askedAtMs + seconds * 1000 > expiresMs then
                    return
                end
            end
            txn:unset_var(name)
        end

        -- Removes the oldest of this thread for as long as `isTooMuch` says so of when it ends. Only inside of
        -- `atomically`.
        function dropWritten(txn, most, isTooMuch)
            for _ = 1, most do
                local hash, expiresMs, size = oldestWritten()
                if not hash then
                    written.bytes = 0
                    return
                elseif not isTooMuch(expiresMs) then
                    return
                end
                -- First, or one that fails would be in the way of all others.
                written.bytes, written.passed = written.bytes - size, written.passed + 3
                unsetIfOld(txn, SHARED .. hash, expiresMs)
            end
        end
    end

    -- Only inside of `atomically`.
    local function dropExpired(txn, most)
        local now = nowMs()
        dropWritten(txn, most, function(expiresMs)
            return now >= expiresMs
        end)
    end

    -- policy → its hash; policies come from the configuration, so there are few.
    local policyHashes = {}

    local function hashOfPolicy(txn, policy)
        local hash = policyHashes[policy]
        if not hash then
            hash = txn.c:xxh64(policy, 0)
            policyHashes[policy] = hash
        end
        return hash
    end

    local hashOfList
    do
        -- A variable for each list of managed names stays for as long as the process. There are few.
        local MOST_LISTS = 16
        -- hash → true, for each list that this thread has named, and how many.
        local lists, listCount = {}, 0

        -- Names a list of managed names; nil for one too many, or without room. Its first use in this thread also tells
        -- the others what it names.
        function hashOfList(txn, managed)
            if not managed.hash then
                local hash = txn.c:xxh64(managed.list, 0) & math.maxinteger
                if not lists[hash] then
                    if listCount == MOST_LISTS or not txn:set_var(LIST .. hash, managed.list) then
                        return nil
                    end
                    lists[hash], listCount = true, listCount + 1
                end
                managed.hash = hash
            end
            return managed.hash
        end
    end

    -- The list that a hash names, or nil.
    local function listOf(txn, hash)
        local managed = lastManaged
        if not managed or managed.hash ~= hash then
            local list = txn:get_var(LIST .. hash)
            managed = type(list) == "string" and readManagedList(list)
        end
        return managed and hashOfList(txn, managed) == hash and managed or nil
    end

    -- Names the variable: one number, because a list of a hundred thousand strings is work for the collector.
    local function hashOf(digest, ofPolicy)
        return (unpack("<i8", digest) ~ ofPolicy) & math.maxinteger
    end

    -- One token is one verdict, however the client spells "Bearer ".
    local function digestOf(txn, credentials)
        if not credentials:find("^Bearer [^ ]") then
            local token = tokenOf(credentials)
            credentials = token and "Bearer " .. token or credentials
        end
        local digest = txn.c:sha2(credentials, 256)
        return isDigestText and txn.c:base64(digest) or digest
    end

    local plainForm
    do
        -- number of headers → what string.unpack reads
        local forms = {}

        function plainForm(headers)
            local form = forms[headers]
            if not form then
                form = "<" .. ("s4"):rep(headers + PLAIN_FIELDS) .. "i8i8"
                forms[headers] = form
            end
            return form
        end
    end

    do
        -- The most bytes of a fact, and the most headers of the form PLAIN.
        local FACT_LIMIT, PLAIN_HEADERS_LIMIT = 255, 100
        -- The size of a variable without its value, and of its place in the list (measured, rounded up), and how many
        -- expired verdicts a thread removes with each new one.
        local VARIABLE_BYTES, SWEPT_BY_NEW = 256, 2
        -- So long after HAProxy had no room, it is tried again. Not sooner, because a try takes the room of requests.
        local TRIED_AGAIN_MS = 600000
        local shortUntilMs = 0

        local function createPlain(outcome, hash)
            local fields, headers = table.move(outcome.values, 1, #outcome.names, 1, {}), #outcome.names
            for index, name in ipairs({ "user", "tenant", "client", "actor", "token_id", "keyId", "version" }) do
                fields[headers + index] = outcome[name] or ""
            end
            fields[headers + PLAIN_FIELDS] = outcome.names.order
            fields[headers + PLAIN_FIELDS + 1] = outcome.issuedAt
            fields[headers + PLAIN_FIELDS + 2] = hash
            return pack(plainForm(headers), table.unpack(fields))
        end

        -- All of a value but the digest and the numbers; also returns the length of its first part, and its form.
        local function createValue(txn, policy, outcome)
            local hash = math.type(outcome.issuedAt) == "integer" and hashOfList(txn, outcome.managed)
            if hash and not sharedLane.isAnywhere and #outcome.names <= PLAIN_HEADERS_LIMIT then
                local plain = createPlain(outcome, hash)
                return plain .. policy, #plain, PLAIN + #outcome.names
            elseif
                hash
                and sharedLane.isAnywhere
                and #outcome.keyId <= FACT_LIMIT
                and #outcome.version <= FACT_LIMIT
            then
                outcome.policy = policy
                local native, length = createNative(outcome)
                if native then
                    local facts = pack(FACTS, outcome.issuedAt, hash, outcome.keyId, outcome.version)
                    return native .. "|" .. facts, length - 1, NATIVE
                end
            end
            return outcome.prepared .. policy, #outcome.prepared, PREPARED
        end

        -- Removes the oldest until there is room. Only inside of `atomically`.
        local function makeRoom(txn, size)
            dropWritten(txn, math.huge, function()
                return written.bytes + size > limit
            end)
        end

        -- Returns whether the verdict is shared now.
        function share(txn, policy, credentials, outcome, askedAtMs)
            local seconds = outcome.maxAgeSeconds
            if
                not outcome.prepared
                or not outcome.issuedAt
                or seconds <= 0
                or feed.usableUntilMs == 0
                or not isShared(txn)
            then
                return false
            end
            local digest = digestOf(txn, credentials)
            local hash = hashOf(digest, hashOfPolicy(txn, policy))
            local said, length, form = createValue(txn, policy, outcome)
            local value = said .. digest .. pack(NUMBERS, askedAtMs, seconds, length, form)
            local size = #value + VARIABLE_BYTES
            if limit < whole and askedAtMs >= shortUntilMs then
                limit = whole
            end
            if size > limit then
                return false
            end
            local isSet
            -- All that is shared was a prepared value.
            inOneStep(function()
                dropExpired(txn, SWEPT_BY_NEW)
                makeRoom(txn, size)
                addWritten(hash, askedAtMs + seconds * 1000, size)
                isSet = txn:set_var(SHARED .. hash, value)
                if not isSet then
                    -- `tune.vars.*-max-size` or the memory leaves less than `shared-bytes`. The variables of requests have the
                    -- same limit, so leave them some.
                    txn:unset_var(SHARED .. hash)
                    limit = written.bytes - written.bytes // 4
                    shortUntilMs = askedAtMs + TRIED_AGAIN_MS
                    makeRoom(txn, 0)
                end
            end)
            if not isSet then
                logOnceInAWhile(
                    "not_shared",
                    "a verdict cannot be shared: raise tune.vars.proc-max-size and global-max-size, or lower shared-bytes"
                )
            end
            return isSet
        end
    end

    -- Whether a shared verdict may be used. It comes into the cache of this thread; once that is full, only each
    -- ADMITTED-th one: most that are found here come seldom, and what comes often is found again.
    local function isFound(entry, credentials, length, version, expiresMs)
        -- About the size of the entry; to count it costs more than to say no.
        if isCacheFull(ENTRY_BYTES + #credentials + 2 * length, true) then
            found = found + 1
            if found % ADMITTED ~= 1 then
                return isPermitted(entry, version, expiresMs)
            end
        end
        entry.expiresMs, entry.isShareable = expiresMs, true
        entry.size = entrySize(entry, credentials)
        entry.credentials, entry.tail, entry.used = credentials, tailOf(credentials), false
        return keepEntry(entry, version)
    end

    -- What revocations name of a value for the fast lane, and the version; nil if it has another policy. Also
    -- returns the end of what the lane returns, and the hash of its list.
    local function readForLane(value, length, policy)
        local ofPolicy, user, tenant, client, actor, tokenId, after = match(value, SAID, length + 1)
        if ofPolicy ~= policy then
            return nil
        end
        local issuedAt, hash, keyId, version = unpack(FACTS, value, after)
        return {
            user = user ~= "" and user or nil,
            tenant = tenant,
            client = client ~= "" and client or nil,
            actor = actor ~= "" and actor or nil,
            token_id = tokenId ~= "" and tokenId or nil,
            issuedAt = issuedAt,
            keyId = keyId,
            version = version,
        },
            after - 2,
            hash
    end

    -- Makes the same an outcome, which has all that the action needs.
    local function complete(entry, managed, value)
        entry.ok, entry.status, entry.ms = true, 200, 0
        entry.managed = managed
        entry.names, entry.values = readNative(value)
    end

    do
        -- The verdict in a value of the form PLAIN, so long, with so many headers, and its version; nil if it is of another policy.
        local function readPlain(txn, policy, value, length, headers, digest)
            if sub(value, length + 1, -NUMBER_BYTES - #digest - 1) ~= policy then
                return nil
            end
            -- The headers are the first of it, and nobody looks behind them.
            local fields = { unpack(plainForm(headers), value) }
            local version = fields[headers + 7]
            local managed = version == feed.known.version and listOf(txn, fields[headers + 10])
            local names = managed and namesOf(managed, fields[headers + 8])
            if not names or #names ~= headers then
                return nil
            end
            local user, client, actor, tokenId =
                fields[headers + 1], fields[headers + 3], fields[headers + 4], fields[headers + 5]
            return {
                ok = true,
                status = 200,
                user = user ~= "" and user or nil,
                tenant = fields[headers + 2],
                client = client ~= "" and client or nil,
                actor = actor ~= "" and actor or nil,
                token_id = tokenId ~= "" and tokenId or nil,
                managed = managed,
                names = names,
                values = fields,
                issuedAt = fields[headers + 9],
                keyId = fields[headers + 6],
                policy = policy,
                cache = "hit",
                ms = 0,
            },
                version
        end

        -- The same of a value in one of the other forms.
        local function readOther(txn, policy, value, length, form, maxAgeSeconds, digest)
            local entry, _, hash
            if form == NATIVE then
                entry, _, hash = readForLane(value, length, policy)
                local managed = entry and entry.version == feed.known.version and listOf(txn, hash)
                if not managed then
                    return nil
                end
                complete(entry, managed, value)
            elseif sub(value, length + 1, -NUMBER_BYTES - #digest - 1) == policy then
                entry = readPrepared(value, length, maxAgeSeconds)
            end
            if not entry or not entry.issuedAt then
                return nil
            end
            entry.policy, entry.cache = policy, "hit"
            return entry, entry.version
        end

        -- The verdict that some thread has shared for these credentials, or nil.
        function recallShared(txn, policy, credentials)
            if feed.usableUntilMs == 0 or not isShared(txn) then
                return nil
            end
            local digest = digestOf(txn, credentials)
            local value = ofVerdict(txn:get_var(SHARED .. hashOf(digest, hashOfPolicy(txn, policy))))
            if not value or not isOf(value, digest) then
                return nil
            end
            local askedAtMs, maxAgeSeconds, length, form = unpack(NUMBERS, value, -NUMBER_BYTES)
            if not isInTime(askedAtMs) then
                return nil
            end
            local expiresMs = math.min(askedAtMs, lastMs) + maxAgeSeconds * 1000
            -- Most of those that are not permitted have ended, and there is no need to read them.
            if not isBefore(expiresMs) then
                return nil
            end
            local entry, version
            if form >= PLAIN then
                entry, version = readPlain(txn, policy, value, length, form - PLAIN, digest)
            else
                entry, version = readOther(txn, policy, value, length, form, maxAgeSeconds, digest)
            end
            if not entry or not isFound(entry, credentials, length, version, expiresMs) then
                return nil
            end
            atOnce(addOne, "hits")
            return entry
        end
    end

    -- For a request with one `Authorization` and no entry: tells the second converter of the fast lane that no header
    -- of the client has a managed name, and by which list. Empty where that is of no use.
    function markMiss(headers, first)
        local managed = lastManaged
        if not managed or not managed.hash or not isSharing() then
            return ""
        end
        local line = managed.line
        local mayHold = not line or first == managed.first or headers:find(line, 1, true)
        return mayHold and mayHoldManaged(headers, managed) and "" or managed.marker
    end

    -- The same as `recallShared` for the fast lane. `text` is the digest of the credentials and behind it what
    -- `markMiss` said. Returns what `recallNative` does.
    function recallSharedNative(text, policy)
        local managed, ofPolicy = lastManaged, policyHashes[policy]
        if not ofPolicy or not managed or sub(text, TEXT_DIGEST_BYTES + 1) ~= managed.marker then
            return ""
        end
        local digest = sub(text, 1, TEXT_DIGEST_BYTES)
        local value = ofVerdict(core.get_var(SHARED .. hashOf(digest, ofPolicy)))
        if not value or not isOf(value, digest) then
            return ""
        end
        local askedAtMs, maxAgeSeconds, length, form = unpack(NUMBERS, value, -NUMBER_BYTES)
        -- Longer than most tokens: what the fast lane leaves to the action, the action admits.
        local isTurn = not isCacheFull(ENTRY_BYTES + 4096 + 2 * length, true)
            or (found + 1) % ADMITTED == 1
        if form ~= NATIVE or isTurn then
            return ""
        end
        local verdict, last, hash = readForLane(value, length, policy)
        local known = feed.known
        if
            hash ~= managed.hash
            or verdict.version ~= known.version
            or not isInTime(askedAtMs)
            or not isBefore(math.min(askedAtMs, lastMs) + maxAgeSeconds * 1000)
            or isRevoked(known, verdict)
        then
            return ""
        end
        found = found + 1
        hitsOfLane = hitsOfLane + 1
        return sub(value, 1, last)
    end

    function forgetExpiredShared(txn)
        atomically(function()
            dropExpired(txn, SWEPT)
        end)
    end
end

-- Hits without the action -----------------------------------------------------------------------
-- From HAProxy 3.4 on, `add-headers-bin` adds all headers of one value. A converter finds the entry and
-- returns that value: it costs a third of the action, for which HAProxy makes objects. The converter
-- gives nothing but hits; it returns an empty text wherever anything needs a closer look, and the action
-- has it.

local convertHeaders, convertDigest
do
    -- The header as it begins in req.hdrs. Where it is the very first of a request, the action has it.
    local AUTHORIZATION = "\nauthorization:"

    local find, sub, byte = string.find, string.sub, string.byte

    -- The entry for the credentials from one position to another, for which there is none by their end.
    local function findEntry(bucket, headers, from, to)
        local credentials = sub(headers, from, to)
        local entry = bucket[tailOf(credentials)]
        return entry and isSameToken(entry.credentials, credentials) and entry or nil
    end

    -- Nearly every request of a busy HAProxy comes through here, and a call of a function costs as much
    -- as ten of its lines. So this one is long.
    local function recallNative(headers, policy)
        if begun ~= ended and not pcall(forgetIfBroken) then
            return ""
        end
        local bucket = buckets[policy]
        if publishDue or not bucket or byte(headers, -3) ~= 10 then
            return ""
        end
        local first, entry = byte(headers), nil
        local start, last = find(headers, AUTHORIZATION, 1, true)
        if first == 97 then
            -- Perhaps a first header `Authorization`, in front of the one that was found.
            return ""
        elseif start then
            local stop = find(headers, "\r\n", last, true)
            if find(headers, AUTHORIZATION, stop, true) then
                return ""
            end
            -- The string of the credentials is not extracted: that costs more than all the rest. The end
            -- finds an entry, and then the whole is compared.
            local from = last + 2
            entry = stop - from > 2 * TAIL_BYTES and bucket[sub(headers, stop - TAIL_BYTES, stop - 1)]
            if entry then
                local same, to = find(headers, entry.credentials, from, true)
                if same ~= from or to ~= stop - 1 then
                    entry = nil
                end
            end
            entry = entry or findEntry(bucket, headers, from, stop - 1)
        else
            local session, isFromHere = findSession(bucket, headers, first)
            -- The converter knows neither the method nor whether this is a navigation.
            if session and (isFromHere or session.allowsCrossSite) and not session.isRecheckDue then
                entry = session
            end
        end
        if not entry then
            return sharedLane.isHere and start and markMiss(headers, first) or ""
        end
        local managed = entry.managed
        local line = managed.line
        if
            (not line or first == managed.first or find(headers, line, 1, true))
            and mayHoldManaged(headers, managed)
        then
            return ""
        end
        -- As `isStillGood`, which is asked where this does not suffice.
        local soonMs = lastMs + 1000
        if
            not (
                entry.seen == feed.known
                and soonMs < entry.expiresMs
                and soonMs < feed.usableUntilMs
                and machineSeconds() == lastSecond
            ) and not isStillGood(entry)
        then
            return ""
        end
        local native = entry.native
        if not native then
            native = native == nil and createNative(entry)
            entry.native = native
            if not native then
                return ""
            end
        end
        entry.used = true
        hitsOfLane = hitsOfLane + 1
        return native
    end

    -- The lines of the fast lane do not set these two: with them, the action has each request.
    local function setsAuthResponse()
        for _, variable in ipairs(settings["variables"]) do
            if variable.name == "auth_response" then
                return true
            end
        end
        return false
    end
    local isLaneOpen = not setsAuthResponse()

    -- A converter that fails sets no variable. The configuration has removed the one of an earlier lane, so the request
    -- goes to the action. A text that begins with "-" is no hit: it is for the second converter, for which the word
    -- `shared` asks. For each level of calls, Lua takes memory anew with each request, so here are few.
    function convertHeaders(headers, policy, shared)
        if not isLaneOpen then
            return ""
        end
        stopCounting()
        local isHere = shared == "shared"
        sharedLane.isHere = isHere
        if isHere then
            sharedLane.isAnywhere = true
        end
        return recallNative(headers, policy)
    end

    -- Where this one fails, what the first one said must not stay.
    function convertDigest(text, policy)
        stopCounting()
        local finished, native = pcall(recallSharedNative, text, policy)
        return finished and native or ""
    end
end

-- Poll ------------------------------------------------------------------------------------------

local keepPolling, publishPoll
do
    -- In place of a problem: the answer does not fit to what is known, so all is asked for.
    local AGAIN = {}

    -- So many last answers are named. Replicas answer in turn, and each knows best which one it gave last.
    local MOST_TAGS = 16

    -- What ended is dropped when all is read again: after this time to twice of it, if there was something new.
    local WHOLE_FEED_MS = 60000

    local function isWholeDue()
        return feed.wholeDueMs and nowMs() >= feed.wholeDueMs
    end

    local function pollHeaders(asksForAll)
        local headers = {
            ["x-entra-auth-contract"] = { CONTRACT },
            ["x-entra-auth-feed"] = { "2" },
            ["user-agent"] = { OWN_NAME },
        }
        if settings["caller-key"] then
            headers["x-entra-auth-key"] = { settings["caller-key"] }
        end
        if not asksForAll then
            headers["if-none-match"] = { feed.etag }
            -- What those answers said is kept here, so what is new since one of them is enough.
            headers["x-entra-auth-feed-since"] = { table.concat(feed.tags, ", ") }
        end
        return headers
    end

    local function forgetTags()
        feed.etag, feed.tags = nil, {}
    end

    local function isTag(tag)
        for _, each in ipairs(feed.tags) do
            if each == tag then
                return true
            end
        end
        return false
    end

    -- The last tags with this one at the end.
    local function withTag(tags, etag)
        local kept = { etag }
        for index = #tags, 1, -1 do
            if tags[index] ~= etag and #kept < MOST_TAGS then
                table.insert(kept, 1, tags[index])
            end
        end
        return kept
    end

    local function acceptFeed(known, etag, dropsEnded)
        local tags = withTag(dropsEnded and {} or feed.tags, etag)
        -- If something breaks in between, all is asked for: the former tags stand for what is known before.
        forgetTags()
        atomically(function()
            if known.version ~= feed.known.version then
                dropEverything()
                -- Another configuration may have other identity headers.
                lastManaged = nil
            end
            feed.known = known
        end)
        feed.tags = tags
        feed.etag = etag
    end

    -- Nothing is used that this leaves out: neither now nor after the same is said again.
    local function refuseTooMany()
        feed.usableUntilMs = 0
        forgetTags()
        return ("more than %d revocations: the cache is off"):format(REVOCATION_LIMIT)
    end

    -- Takes what was said. Returns what is wrong with it, or nil.
    local function judgeFeed(response, askedForAll)
        local status, headers = response.status, response.headers or {}
        local contract = single(headers, "x-entra-auth-contract")
        local etag, problem = single(headers, "etag")
        if problem or (contract and contract ~= CONTRACT) then
            return problem or contractProblem(contract)
        elseif status == 304 then
            if not feed.etag or (etag and etag ~= feed.etag) then
                return "status 304 for an answer that is not known here"
            end
            return nil
        elseif status == 404 then
            return "status 404, so this verifier does not have GET /revocations: the cache is off"
        elseif status ~= 200 then
            return ("status %s"):format(tostring(status))
        end
        local since, known
        since, problem = single(headers, "x-entra-auth-feed-since")
        if problem or (since and (askedForAll or not isTag(since))) then
            return problem or "what is new since an answer that is not known here"
        end
        -- Another replica may not know the last answers. What it lists is one more answer, and nothing is dropped.
        local dropsEnded = askedForAll and not since
        known, problem = readFeed(response.body or "", dropsEnded, core.now().sec)
        if not known and (since or (problem == "too_many" and not dropsEnded)) then
            forgetTags()
            return AGAIN
        elseif not known then
            return problem == "too_many" and refuseTooMany() or problem
        end
        acceptFeed(known, etag, dropsEnded)
        if dropsEnded then
            feed.wholeDueMs = nil
        elseif not feed.wholeDueMs then
            feed.wholeDueMs = nowMs() + WHOLE_FEED_MS + math.random(0, WHOLE_FEED_MS)
        end
        return nil
    end

    local function relyOnFeed(askedAtMs)
        feed.goodAtMs = askedAtMs
        feed.usableUntilMs = askedAtMs + settings["feed-stale-seconds"] * 1000
    end

    -- How much Lua 5.4 collects for each byte that it takes. Its default, 100, collects a full cache within a dozen
    -- requests, and all requests of the thread wait for these milliseconds. An answer with ten thousand
    -- revocations is a string of more than a megabyte, which is paid for at once: less for each byte while all is read.
    local USUAL_STEPS, SMALL_STEPS = 8, 1

    local function setCollectorSteps(steps)
        if _VERSION == "Lua 5.4" then
            collectgarbage("setstepmul", steps)
        end
    end

    -- The answer is as old as the question, however long it was under way.
    local function poll()
        local askedAtMs = nowMs()
        local asksForAll = not feed.etag or isWholeDue()
        if asksForAll then
            pcall(setCollectorSteps, SMALL_STEPS)
        end
        local response = core.httpclient():get({
            url = "http://" .. settings["verifier"] .. "/revocations",
            headers = pollHeaders(asksForAll),
            timeout = settings["timeout-ms"],
        })
        local problem = judgeFeed(response or {}, asksForAll)
        if problem == AGAIN then
            return poll()
        elseif problem then
            return problem
        end
        forgetExpired()
        relyOnFeed(askedAtMs)
        feed.isOwnPoll = true
        return nil
    end

    -- If another thread polled a moment ago and got the answer that this thread already has, no poll is
    -- needed. Returns how long ago that was, or nil.
    local function usePollOfOthers()
        local word = core.get_var and core.get_var(POLLED)
        local asked, etag = tostring(word):match("^(%d+) (.+)$")
        local now, askedAtMs = nowMs(), math.tointeger(tonumber(asked))
        if
            not askedAtMs
            or isWholeDue()
            or etag ~= feed.etag
            or askedAtMs <= (feed.goodAtMs or 0)
            or askedAtMs > now
            or now - askedAtMs >= POLL_LEAST_MS
        then
            return nil
        end
        forgetExpired()
        relyOnFeed(askedAtMs)
        feed.isOwnPoll = false
        return now - askedAtMs
    end

    -- Tells the others of a poll of this thread, unless one of them has asked since.
    function publishPoll(txn)
        if feed.isOwnPoll and feed.etag then
            feed.isOwnPoll = false
            -- Where HAProxy had no room for the text, the variable is a boolean.
            local last = tostring(txn:get_var(POLLED)):match("^(%d+) ")
            if not last or tonumber(last) < feed.goodAtMs then
                txn:set_var(POLLED, feed.goodAtMs .. " " .. feed.etag)
            end
        end
    end

    -- One line for each change, not for each poll.
    local function logPollProblem(problem)
        if problem and problem ~= feed.loggedProblem then
            core.log(core.err, "entra-auth: revocations cannot be read: " .. problem)
        end
        feed.loggedProblem = problem
    end

    -- Lua collects garbage each time the memory has doubled. Where it holds little, that is so often that a
    -- tenth of a hit was garbage collection.
    -- Where threads share verdicts, there is more for each request, and the cache of a thread is smaller.
    local GARBAGE_KB, LONGEST_PAUSE = core.get_patref and 16384 or 4096, 800

    -- Lets GARBAGE_KB gather in any case. The pause is in percent of the memory in use, 200 by default.
    local function pauseCollector()
        local pause = 100 + math.max(100, 100 * GARBAGE_KB // collectgarbage("count"))
        collectgarbage("setpause", math.tointeger(math.min(pause, LONGEST_PAUSE)))
    end

    function keepPolling()
        while true do
            pcall(pauseCollector)
            local isUsed, agoMs = pcall(usePollOfOthers)
            if not isUsed or not agoMs then
                agoMs = 0
                local finished, problem = pcall(poll)
                pcall(setCollectorSteps, USUAL_STEPS)
                if not finished then
                    pcall(forgetIfBroken)
                end
                if finished and not problem then
                    count("goodPolls")
                else
                    count("badPolls")
                    problem = tostring(problem):sub(1, 200)
                end
                pcall(logPollProblem, problem)
            end
            publishDue = true
            core.msleep(POLL_LEAST_MS + math.random(0, POLL_SPREAD_MS) - agoMs)
        end
    end
end

-- Calls under way -------------------------------------------------------------------------------
-- The number of calls is bounded, in total and for each source. So a client that sends unknown
-- tokens cannot use up HAProxy's connections or the verifier's time. A cached verdict needs no
-- call.

-- The calls as they began, the oldest first, each with the one after it.
local callsUnderWay = { count = 0, bySource = {}, oldest = nil, newest = nil, recountedMs = 0 }

local startCall, endCall
do
    local MOST, MOST_OF_SOURCE = settings["max-calls"], settings["max-calls-per-source"]

    -- An error inside `startCall` or `endCall` would leave the count too high for ever. So calls
    -- are counted again before one is refused, at most once in CALL_COUNTED_MS. Only inside of
    -- `atOnce`.
    local function recountCalls(now)
        local calls = callsUnderWay
        if now - calls.recountedMs < CALL_COUNTED_MS then
            return
        end
        local count, bySource = 0, {}
        local call = calls.oldest
        while call do
            if call.isCounted then
                count = count + 1
                bySource[call.source] = (bySource[call.source] or 0) + 1
            end
            call = call.next
        end
        calls.count, calls.bySource, calls.recountedMs = count, bySource, now
    end

    -- Only where nothing interrupts.
    function endCall(call)
        if call.isCounted then
            call.isCounted = false
            callsUnderWay.count = callsUnderWay.count - 1
            local left = (callsUnderWay.bySource[call.source] or 1) - 1
            callsUnderWay.bySource[call.source] = left > 0 and left or nil
        end
    end

    -- HAProxy ends a coroutine silently when its client disconnects, so `endCall` may never run.
    -- After a moment the call no longer counts. Only inside of `atOnce`.
    local function dropOldCalls(now)
        local calls = callsUnderWay
        local call = calls.oldest
        while call and not (call.isCounted and now - call.startedMs < CALL_COUNTED_MS) do
            endCall(call)
            call = call.next
            calls.oldest = call
        end
        if not call then
            calls.newest = nil
        end
    end

    local function isFull(source)
        return callsUnderWay.count >= MOST or (callsUnderWay.bySource[source] or 0) >= MOST_OF_SOURCE
    end

    -- Counts this call, if it may be made now. Only inside of `atOnce`.
    function startCall(call)
        local calls, source, now = callsUnderWay, call.source, nowMs()
        dropOldCalls(now)
        if isFull(source) then
            recountCalls(now)
            if isFull(source) then
                return
            end
        end
        call.startedMs, call.isCounted = now, true
        calls.count = calls.count + 1
        calls.bySource[source] = (calls.bySource[source] or 0) + 1
        if calls.newest then
            calls.newest.next = call
        else
            calls.oldest = call
        end
        calls.newest = call
    end
end

-- Whom a call is counted for: the address of the client; of IPv6 the network of 64 bits, which one client
-- has for itself.
local function sourceOf(txn, address)
    if address:find(":", 1, true) then
        return txn.sc:ipmask(address, 32, 64)
    end
    return address
end

-- Decision --------------------------------------------------------------------------------------

-- A request of another site does not get what the session is allowed, unless the policy says so.
local function refuseCrossSite(txn, headerNames, outcome)
    if
        outcome.ok
        and outcome.isSession
        and not outcome.allowsCrossSite
        and isCrossSite(txn, headerNames)
    then
        return refuse("cross_site_request")
    end
    return outcome
end

local verifyUrl
do
    -- policy → URL; policies come from the configuration, so there are few.
    local urls = {}

    function verifyUrl(policy)
        local url = urls[policy]
        if not url then
            url = "http://" .. settings["verifier"] .. "/verify/" .. percentEncode(policy)
            urls[policy] = url
        end
        return url
    end
end

-- Only inside of `atomically`.
local function countCall(call)
    endCall(call)
    numbers.calls = numbers.calls + 1
    numbers.callMs = numbers.callMs + call.tookMs
end

-- A new client object for each call: one serves a single request. It keeps its connections alive.
local function callVerifier(txn, policy, ...)
    return core.httpclient():get({
        url = verifyUrl(policy),
        headers = verifyHeaders(txn, ...),
        timeout = settings["timeout-ms"],
    })
end

-- Once the cache of this thread is full, a new verdict is only shared, and comes into the cache with its
-- second use. Many tokens come once, and none of these evicts one that comes again.
local function keep(txn, policy, credentials, outcome, askedAtMs)
    local isOnlyShared = outcome.prepared
        and isCacheFull(entrySize(outcome, credentials), true)
        and share(txn, policy, credentials, outcome, askedAtMs)
    if not isOnlyShared then
        remember(policy, credentials, outcome, askedAtMs)
        share(txn, policy, credentials, outcome, askedAtMs)
    end
end

local function ask(txn, policy, headerNames, credentials, session, requestId)
    local address = txn.sf:src()
    local call = { source = sourceOf(txn, address), startedMs = 0, tookMs = 0, isCounted = false, next = nil }
    atOnce(startCall, call)
    if not call.isCounted then
        return refuse("too_many_calls")
    end
    local askedAtMs = call.startedMs
    local finished, response =
        pcall(callVerifier, txn, policy, headerNames, credentials, session, requestId, address)
    local tookMs = math.max(0, nowMs() - askedAtMs)
    call.tookMs = tookMs
    -- HAProxy counts the instructions of what follows, up to a prepared value.
    local judged, outcome = false, response
    if finished then
        judged, outcome = pcall(judge, txn, response or {}, policy, credentials)
    end
    if judged and outcome.prepared and canStop then
        countCall(call)
    else
        atomically(function()
            countCall(call)
        end)
    end
    if not judged then
        error(outcome, 0)
    end
    local seconds = outcome.maxAgeSeconds
    if seconds and seconds >= SPREAD_FROM_SECONDS then
        outcome.maxAgeSeconds = seconds - math.random(0, seconds // 4)
    end
    if session and outcome.ok and not outcome.isSession and not outcome.reason then
        outcome = unavailable("an allow of a session without X-Entra-Auth-Session-Id")
    end
    outcome = refuseCrossSite(txn, headerNames, outcome)
    outcome.ms = tookMs
    outcome.cache = "miss"
    if credentials and isCacheOn then
        keep(txn, policy, credentials, outcome, askedAtMs)
    end
    return outcome
end

local passPreflight
do
    -- What browsers and proxies send with a preflight.
    local OF_PREFLIGHT = {}
    for name in
        ([[accept accept-encoding accept-language access-control-request-headers
        access-control-request-method access-control-request-private-network cache-control connection
        content-length host origin pragma referer sec-fetch-dest sec-fetch-mode sec-fetch-site
        traceparent user-agent via x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id]]):gmatch(
            "%S+"
        )
    do
        OF_PREFLIGHT[name] = true
    end

    local function plain(name)
        return (name:lower():gsub("[^%w]", "-"))
    end

    -- A preflight has no identity, so all identity headers are deleted, in every spelling. Until a verdict
    -- has named these headers, a preflight keeps only the headers that each preflight has.
    function passPreflight(txn)
        local managed
        if lastManaged then
            managed = {}
            for _, name in ipairs(lastManaged.names) do
                managed[plain(name)] = true
            end
        end
        local names = {}
        for name in pairs(txn.http:req_get_headers()) do
            local isIdentity = managed and managed[plain(name)]
            if isIdentity or not (managed or OF_PREFLIGHT[plain(name)]) then
                names[#names + 1] = name
            end
        end
        return {
            ok = true,
            status = 200,
            reason = "cors_preflight",
            managed = { names = names, stem = "" },
            names = {},
            values = {},
        }
    end
end

-- The verifier's refusal of a request without credentials, or with this problem, by the challenge in the feed.
-- Nil if the feed has none, or is too old. A policy on probation, which admits everything, has none.
local function refuseByFeed(policy, problem)
    local challenge = feed.known.challenges[policy]
    if not challenge or nowMs() >= feed.usableUntilMs then
        return nil
    elseif problem then
        return refuse(problem, challenge)
    end
    return {
        ok = false,
        status = 401,
        reason = "no_credentials",
        error = "no_credentials",
        text = "No access token was sent; send one in the header Authorization: Bearer <token>.",
        challenges = { challenge },
    }
end

-- Whether this request says that it is a call of this action, as one does that the verifier's address led back
-- here. Any client can say that. So only the call that gets this refusal as its answer is a matter of the setup.
local function isOwnCall(txn, headerNames)
    return headerNames:find("user-agent", 1, true) ~= nil
        and txn.sf:req_fhdr("user-agent") == OWN_NAME
end

-- A frontend may count nothing, and a client of a unix socket has no address to count for.
local function hasManyBadTokens(txn)
    local counter = settings["count-bad-tokens"]
    return counter and (txn.f:sc_gpc0_rate(counter) or 0) > settings["limit-bad-tokens"]
end

-- A verdict that is not remembered. Refusals never are: the verifier answers a known one faster
-- than an operator's correction should wait.
local function decide(txn, policy, headerNames, requestId, plain)
    local outcome
    if policy == "" then
        outcome = badSetup("the action was called without a policy")
    elseif settings["cors-preflight"] == "pass" and isPreflight(txn) then
        outcome = passPreflight(txn)
    else
        local credentials, problem = readCredentials(txn, plain)
        local isWithout = not credentials or isOtherScheme(credentials)
        local refusal = (problem or isWithout) and refuseByFeed(policy, problem)
        local session, isSent
        if problem and (refusal or not credentials) then
            outcome = refusal or refuse(problem)
        elseif isOwnCall(txn, headerNames) then
            outcome = refuse("verification_loop")
        elseif isWithout then
            if not credentials then
                session, isSent = readSession(txn, headerNames)
            end
            outcome = refusal
            if not outcome and isSent and hasManyBadTokens(txn) then
                outcome = refuse("too_many_bad_tokens")
            end
        else
            -- Another header has "authorization" in its name, so nobody has looked yet.
            if not plain then
                local bucket = buckets[policy]
                outcome = bucket and recallCredentials(bucket, credentials)
                    or recallShared(txn, policy, credentials)
            end
            if not outcome and hasManyBadTokens(txn) then
                outcome = refuse("too_many_bad_tokens")
            end
        end
        if not outcome then
            atOnce(addOne, "misses")
            if session then
                credentials = session.credentials
            end
            outcome = ask(txn, policy, headerNames, credentials, session, requestId)
            outcome.isBadSession = isSent and outcome.reason == "no_session"
        end
    end
    outcome.policy = policy
    outcome.ms = outcome.ms or 0
    return outcome
end

-- Effects ---------------------------------------------------------------------------------------

-- Nothing of an earlier action on this request may be read as this one's.
local clearVariables
do
    -- `setVariables` sets this one first, and it is cleared last. Without it there are no others.
    local first = settings["variables"][1]
    local marker = first and first.name == "status" and first.full

    function clearVariables(txn)
        local variables = settings["variables"]
        if marker and txn:get_var(marker) == nil then
            return
        end
        for index = #variables, 1, -1 do
            txn:unset_var(variables[index].full)
        end
    end
end

-- `isClear`: no variable is set yet.
local function setVariables(txn, outcome, isClear)
    local variables, set = settings["variables"], txn.set_var
    for index = 1, #variables do
        local variable = variables[index]
        local value = outcome[variable.field]
        if value ~= nil then
            set(txn, variable.full, value)
        elseif not isClear then
            txn:unset_var(variable.full)
        end
    end
end

-- HAProxy reports no error when a header does not fit into the buffer. Space only shrinks while
-- headers are added. So the largest is added last, and if it is there, all others had room. Nothing
-- is deleted if no header name of the request contains what the managed names have in common: the
-- configuration has removed them, and one search is cheaper than a deletion for each name.
local function setIdentity(txn, outcome, headerNames)
    local http, managed = txn.http, outcome.managed
    if headerNames:find(managed.stem, 1, true) then
        for _, name in ipairs(managed.names) do
            http:req_del_header(name)
        end
    end
    local names, values, add = outcome.names, outcome.values, http.req_add_header
    for index = 1, #names do
        add(http, names[index], values[index])
    end
    local largest = names[#names]
    return largest == nil or txn.f:req_fhdr_cnt(largest) == 1
end

local refusalReply
do
    local function refusalBody(outcome, policy, requestId)
        if outcome.body then
            return outcome.body
        end
        return ('{"error":%s,"error_description":%s,"reason":%s,"policy":%s,"request_id":%s}'):format(
            jsonString(outcome.error),
            jsonString(outcome.text),
            jsonString(outcome.reason),
            jsonString(policy),
            requestId and jsonString(requestId) or "null"
        )
    end

    -- The page for a person whose form was not forwarded; the browser would show JSON. The hash in the
    -- policy is that of the style below.
    local PAGE = [[<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Not sent</title><style>:root{color-scheme:light dark}body{font:1rem/1.5 sans-serif;max-width:38rem;margin:3rem auto;padding:0 1rem}</style></head>
<body><main>%s</main></body></html>
]]
    local PAGE_POLICY = "default-src 'none'; style-src 'sha256-ZeuDD3ijs3Q9/MaUXb6761TnOPk8cd7O0PlhZujRDSg='; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    local UNSENT = [[<h1>Your sign-in has ended</h1>
<p>What you sent was not passed on, and nothing was changed.</p>
<p>Go back to the page with the back button of your browser and copy what you wrote. Then
<a href="%s">sign in again</a> and send it once more.</p>]]
    local FOREIGN = [[<h1>A page of another site sent this</h1>
<p>It was not passed on, and nothing was changed. If you wanted to do this, open the application and do
it there. If not, close this page.</p>
<p>Reason: cross_site_request</p>]]

    local function redirectReply(txn, location, reason)
        return txn:reply({
            status = 302,
            headers = {
                ["location"] = { location },
                ["cache-control"] = { "no-store" },
                ["x-entra-auth-reason"] = { reason },
            },
        })
    end

    local function pageReply(txn, outcome, body, policy)
        return txn:reply({
            status = outcome.status,
            headers = {
                ["content-type"] = { HTML },
                ["content-security-policy"] = { policy },
                ["x-content-type-options"] = { "nosniff" },
                ["cache-control"] = { "no-store" },
                ["x-entra-auth-reason"] = { outcome.reason },
                ["x-entra-auth-sign-in"] = outcome.signIn and { outcome.signIn } or nil,
                ["retry-after"] = outcome.retryAfter and { tostring(outcome.retryAfter) } or nil,
            },
            body = body,
        })
    end

    local function unsentReply(txn, outcome)
        local location = signInLocation(txn, outcome.signIn):gsub("&", "&amp;")
        return pageReply(txn, outcome, PAGE:format(UNSENT:format(location)), PAGE_POLICY)
    end

    function refusalReply(txn, outcome, policy, requestId)
        if outcome.signIn and isNavigation(txn) then
            if txn.sf:method() == "GET" then
                return redirectReply(txn, signInLocation(txn, outcome.signIn), outcome.reason)
            elseif txn.sf:method() ~= "HEAD" then
                return unsentReply(txn, outcome)
            end
        end
        if outcome.pagePolicy then
            return pageReply(txn, outcome, outcome.body, outcome.pagePolicy)
        elseif outcome.reason == "cross_site_request" and isNavigation(txn) then
            return pageReply(txn, outcome, PAGE:format(FOREIGN), PAGE_POLICY)
        end
        local headers = {
            ["content-type"] = { "application/json; charset=utf-8" },
            ["cache-control"] = { "no-store" },
            ["x-entra-auth-reason"] = { outcome.reason },
        }
        if outcome.signIn then
            headers["x-entra-auth-sign-in"] = { outcome.signIn }
        end
        if #outcome.challenges > 0 then
            headers["www-authenticate"] = outcome.challenges
        end
        if outcome.retryAfter then
            headers["retry-after"] = { tostring(outcome.retryAfter) }
        end
        return txn:reply({
            status = outcome.status,
            headers = headers,
            body = refusalBody(outcome, policy, requestId),
        })
    end
end

-- For an allow whose headers did not fit.
local function refuseIncomplete(outcome)
    logOnceInAWhile(
        "identity_incomplete",
        "identity headers did not fit into the buffer: raise tune.maxrewrite and tune.bufsize"
    )
    local refusal = refuse("identity_incomplete")
    refusal.policy, refusal.ms, refusal.cache = outcome.policy, outcome.ms, outcome.cache
    return refusal
end

-- Metrics ---------------------------------------------------------------------------------------
-- Each thread counts for itself. About once a second, a passing request writes the thread's numbers
-- into a variable of the process. The page adds them up.

local publishNumbers, serveMetrics
do
    local METRICS = {
        { "requests", "requests_total", "counter", "Requests that the action saw." },
        { "hits", "cache_hits_total", "counter", "Verdicts from the cache." },
        { "misses", "cache_misses_total", "counter", "Verdicts that were not in the cache." },
        { "entries", "cache_entries", "gauge", "Verdicts in the cache." },
        { "bytes", "cache_bytes", "gauge", "Size of the cache, as it is counted for cache-bytes." },
        { "evictions", "cache_evictions_total", "counter", "Verdicts that were pushed out by others." },
        { "goodPolls", "polls_good_total", "counter", "Answers to GET /revocations that were good." },
        { "badPolls", "polls_bad_total", "counter", "Answers to GET /revocations that were not." },
    }

    -- Only inside of `atomically`.
    local function packNumbers()
        local lines, hits = {}, hitsOfLane
        hitsOfLane = 0
        numbers.requests, numbers.hits = numbers.requests + hits, numbers.hits + hits
        for name, value in pairs(numbers) do
            lines[#lines + 1] = ("%s %d\n"):format(name, value)
        end
        for reason, value in pairs(refusals) do
            lines[#lines + 1] = ("refused:%s %d\n"):format(reason, value)
        end
        return table.concat(lines)
    end

    function publishNumbers(txn)
        publishDue = not isCacheOn
        if core.thread > 0 then
            atomically(function()
                txn:set_var(PUBLISHED .. core.thread, packNumbers())
            end)
            publishPoll(txn)
        end
        forgetExpiredShared(txn)
    end

    -- What all threads counted, this one up to now.
    local function addUp(applet)
        local sums, own = {}, ""
        atomically(function()
            own = packNumbers()
        end)
        for thread = 0, THREAD_LIMIT do
            local packed = thread == core.thread and own or applet:get_var(PUBLISHED .. thread)
            for name, value in tostring(packed):gmatch("(%S+) (%d+)\n") do
                sums[name] = (sums[name] or 0) + math.tointeger(tonumber(value))
            end
        end
        return sums
    end

    local function describeMetric(lines, name, kind, help)
        lines[#lines + 1] = ("# HELP entra_auth_action_%s %s"):format(name, help)
        lines[#lines + 1] = ("# TYPE entra_auth_action_%s %s"):format(name, kind)
    end

    local function addMetric(lines, name, kind, help, value)
        describeMetric(lines, name, kind, help)
        lines[#lines + 1] = ("entra_auth_action_%s %s"):format(name, value)
    end

    local function describeRefusals(lines, sums)
        describeMetric(lines, "refusals_total", "counter", "Refused requests by reason.")
        for name, value in pairs(sums) do
            local reason = name:match("^refused:(.*)$")
            if reason then
                lines[#lines + 1] = ('entra_auth_action_refusals_total{reason="%s"} %d'):format(
                    reason,
                    value
                )
            end
        end
    end

    -- Of the thread that answers: the others' would be as old as their last request.
    local function describeFeed(lines)
        local now = nowMs()
        local age = feed.goodAtMs and ("%.3f"):format((now - feed.goodAtMs) / 1000) or "+Inf"
        local usable = now < feed.usableUntilMs and 1 or 0
        addMetric(lines, "poll_age_seconds", "gauge", "Age of what is known of revocations.", age)
        addMetric(lines, "cache_usable", "gauge", "1 while the cache is in use.", usable)
        addMetric(lines, "revocations", "gauge", "Revocations in force.", feed.known.count)
    end

    local function describeNumbers(applet)
        local sums, lines = addUp(applet), {}
        for _, metric in ipairs(METRICS) do
            local field, name, kind, help = table.unpack(metric)
            addMetric(lines, name, kind, help, sums[field])
        end
        describeMetric(lines, "call_seconds", "summary", "Time of calls to the verifier.")
        lines[#lines + 1] = ("entra_auth_action_call_seconds_sum %.3f"):format(sums.callMs / 1000)
        lines[#lines + 1] = ("entra_auth_action_call_seconds_count %d"):format(sums.calls)
        describeRefusals(lines, sums)
        describeFeed(lines)
        return table.concat(lines, "\n") .. "\n"
    end

    function serveMetrics(applet)
        local body = describeNumbers(applet)
        applet:set_status(200)
        applet:add_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        applet:add_header("content-length", tostring(#body))
        applet:add_header("cache-control", "no-store")
        applet:start_response()
        applet:send(body)
    end
end

-- Action ----------------------------------------------------------------------------------------

-- Counts a bad token or a forged session on the sticky counter that the settings name. A source that
-- keeps sending these may make no calls for a while, but still gets cached verdicts. A request without
-- credentials does not count, because each client begins with one, nor does a session that has ended, nor
-- credentials that are no token and cost no call.
local function countBadToken(txn, outcome)
    local counter = settings["count-bad-tokens"]
    if
        counter
        and (
            outcome.isBadSession
            or (outcome.reason == "malformed_credentials" and outcome.cache == "miss")
            or (outcome.status == 401 and not outcome.signIn and outcome.reason ~= "no_credentials")
        )
    then
        txn.f:sc_inc_gpc0(counter)
    end
end

-- After its soft end, a session still works for requests that are not navigations, so that a form
-- is not interrupted. A navigation is redirected to Entra, which usually shows no page.
local function isRecheckPossible(txn)
    return txn.sf:method() == "GET" and isNavigation(txn)
end

local function recheck(outcome)
    return {
        ok = false,
        status = 401,
        reason = "session_recheck",
        error = "session_recheck",
        text = "The session has to be checked again; follow the redirect.",
        challenges = {},
        signIn = SESSION_START,
        policy = outcome.policy,
        ms = outcome.ms,
        cache = outcome.cache,
    }
end

-- Returns the reply for the client, or nil where the request goes on.
local function verify(txn, given, enforce)
    local policy = given or txn.sf:be_name()
    local headerNames = txn.sf:req_hdr_names()
    local requestId
    local plain = readPlainCredentials(txn, headerNames)
    local outcome, isFromHere = recall(txn, policy, headerNames, plain)
    if not outcome and plain then
        outcome = recallShared(txn, policy, plain)
    end
    if canStop then
        numbers.requests = numbers.requests + 1
    else
        count("requests")
    end
    if outcome and outcome.isSession and not isFromHere then
        outcome = refuseCrossSite(txn, headerNames, outcome)
        outcome.policy, outcome.ms, outcome.cache = policy, 0, "hit"
    end
    local isClear = not outcome
    if isClear then
        clearVariables(txn)
        requestId = readRequestId(txn, headerNames)
        outcome = decide(txn, policy, headerNames, requestId, plain)
    end
    if outcome.ok and outcome.isRecheckDue and isRecheckPossible(txn) then
        outcome = recheck(outcome)
    end
    if outcome.ok and enforce and not setIdentity(txn, outcome, headerNames) then
        outcome = refuseIncomplete(outcome)
    end
    setVariables(txn, outcome, isClear)
    if not outcome.ok then
        countRefusal(outcome.reason)
        countBadToken(txn, outcome)
    end
    if publishDue then
        publishNumbers(txn)
    end
    if not outcome.ok then
        requestId = requestId or readRequestId(txn, headerNames)
        return enforce and refusalReply(txn, outcome, policy, requestId) or nil
    end
    -- The very last step: whatever fails before leaves the request refused.
    txn:set_var("txn.entra.ok", true)
    return nil
end

local function replyToError(txn, problem, policy, enforce)
    logOnceInAWhile("internal_error", "error in the action: " .. tostring(problem):sub(1, 200))
    pcall(forgetIfBroken)
    countRefusal("internal_error")
    local outcome = refuse("internal_error")
    outcome.policy = policy
    setVariables(txn, outcome)
    return enforce and refusalReply(txn, outcome, policy or "", nil) or nil
end

local function run(txn, policy, enforce)
    txn:set_var("txn.entra.ok", false)
    local finished, reply = pcall(verify, txn, policy, enforce)
    if not finished then
        txn:set_var("txn.entra.ok", false)
        local answered
        answered, reply = pcall(replyToError, txn, reply, policy, enforce)
        -- Not even that: the guard in the configuration refuses.
        reply = answered and reply or nil
    end
    -- Outside of pcall, because `done` itself ends the action by raising an error.
    if reply then
        txn:done(reply)
    end
end

-- Memory ----------------------------------------------------------------------------------------

-- glibc gives the free end of the heap back to the system, and HAProxy 2.6 takes it again every few
-- requests, for up to a sixth of its time. A block of this size, taken and freed once in the process,
-- makes glibc keep twice as much from then on (mallopt(3), M_MMAP_THRESHOLD). Nothing depends on it.
if core.thread <= 1 then
    pcall(string.rep, " ", 1024 * 1024)
end

-- Registration ----------------------------------------------------------------------------------

core.register_action("entra-auth", { "http-req" }, function(txn, policy)
    return run(txn, policy, true)
end, 1)

core.register_action("entra-auth-backend", { "http-req" }, function(txn)
    return run(txn, nil, true)
end, 0)

core.register_action("entra-auth-observe", { "http-req" }, function(txn, policy)
    return run(txn, policy, false)
end, 1)

core.register_converters("entra-auth-hit", convertHeaders)
core.register_converters("entra-auth-shared", convertDigest)

core.register_service("entra-auth-metrics", "http", serveMetrics)

if isCacheOn then
    core.register_task(keepPolling)
end
