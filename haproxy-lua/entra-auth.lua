-- entra-auth: asks the verifier of haproxy-entra-auth who sends a request, and tells the
-- application through identity headers.
--
--     http-request lua.entra-auth POLICY          verify; answer a refusal, or set the headers
--     http-request lua.entra-auth-backend         the same, the backend's own name is the policy
--     http-request lua.entra-auth-observe POLICY  verify, but only set the variables txn.entra.*
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
-- Far above what the verifier sends, far below a buffer: a reply that does not fit into HAProxy's
-- buffer would be none at all.
local CHALLENGE_LIMIT = 4096
local BODY_LIMIT = 4096
-- The verifier's Retry-After is used up to here; otherwise clients are asked to wait this long.
local RETRY_AFTER_LIMIT_SECONDS = 3600
local RETRY_AFTER_SECONDS = 5
-- One line of each kind in this time: with an outage every request would otherwise log one.
local LOG_EVERY_SECONDS = 10

-- Headers with a meaning for the connection or the routing. A verifier that lists one of them as
-- an identity header would let a claim rewrite the request itself.
local NEVER_IDENTITY = {
    ["authorization"] = true,
    ["connection"] = true,
    ["content-length"] = true,
    ["cookie"] = true,
    ["host"] = true,
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
        text = 'The Authorization header must be "Bearer", one space and one token, nothing else.',
    },
    token_too_long = {
        status = 401,
        error = "invalid_token",
        text = "The token is too long; ask for fewer group or role claims.",
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

-- Everything but txn.entra.ok, which is set in any case. Those that no rule and no log format
-- names are never created (the third argument of set_var), so they cost next to nothing.
local VARIABLES = {
    "status", "reason", "policy", "user", "tenant", "client", "actor", "token_id", "cache", "ms",
}

-- Settings --------------------------------------------------------------------------------------

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

local function parseCallerKey(value)
    if value:find("[^\33-\126]") then
        return nil, "must be printable ASCII without spaces"
    end
    return value
end

-- Arguments of lua-load-per-thread arrive from HAProxy 2.7 on; on 2.6 the same settings come from
-- the environment (`setenv` or `presetenv` in the global section). An argument wins.
local SETTINGS = {
    ["verifier"] = {
        variable = "ENTRA_AUTH_VERIFIER",
        default = "127.0.0.1:14480",
        parse = parseVerifier,
    },
    -- For one attempt, and HAProxy makes up to four: so it stays above what the `listen` section
    -- needs to give up by itself.
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
    -- Never an argument: those stand in the configuration file and in its dumps.
    ["caller-key"] = {
        variable = "ENTRA_AUTH_CALLER_KEY",
        environmentOnly = true,
        parse = parseCallerKey,
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
    return settings
end

local settings = readSettings({ ... })

-- Log -------------------------------------------------------------------------------------------

local lastLogged = {}

local function logOnceInAWhile(kind, text)
    local now = core.now().sec
    local last = lastLogged[kind]
    -- A clock that was set back must not silence the log until it has caught up.
    if last and now >= last and now - last < LOG_EVERY_SECONDS then
        return
    end
    lastLogged[kind] = now
    core.log(core.err, "entra-auth: " .. text)
end

-- Values ----------------------------------------------------------------------------------------

-- HAProxy writes a CR LF inside a value as it is, which makes a header of its own out of the rest.
local function isPrintable(value)
    return not value:find("[^\32-\126]")
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

-- Counted, because the fetch returns the last of several headers and other programs take the
-- first: two programs would then look at two different tokens.
local function readCredentials(txn)
    local count = txn.f:req_fhdr_cnt("authorization")
    if count == 0 then
        -- Still asked: the challenge names the policy's resource metadata, which only the
        -- verifier's configuration knows.
        return nil
    elseif count > 1 then
        return nil, "ambiguous_credentials"
    end
    local value = txn.sf:req_fhdr("authorization")
    if value == "" or not isPrintable(value) then
        return nil, "malformed_credentials"
    elseif #value > settings["max-token-bytes"] + #"Bearer " then
        return nil, "token_too_long"
    end
    return value
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
local function addLogHeader(headers, name, value)
    if value ~= "" and isPrintable(value) then
        headers[name] = { value:sub(1, LOG_VALUE_LIMIT) }
    end
end

local function isTls(txn)
    local value = txn.f:ssl_fc()
    -- 1 or true, depending on tune.lua.bool-sample-conversion.
    return value == 1 or value == true
end

-- A fixed handful: every header of the client could overrun HAProxy's own header table, and the
-- verdict depends on the policy and the token alone.
local function verifyHeaders(txn, credentials, requestId)
    local headers = { ["x-entra-auth-contract"] = { CONTRACT } }
    if credentials then
        headers["authorization"] = { credentials }
    end
    if settings["caller-key"] then
        headers["x-entra-auth-key"] = { settings["caller-key"] }
    end
    if requestId then
        headers["x-request-id"] = { requestId }
    end
    local traceparent = txn.sf:req_fhdr("traceparent")
    if isTraceparent(traceparent) then
        headers["traceparent"] = { traceparent }
    end
    addLogHeader(headers, "x-forwarded-method", txn.sf:method())
    addLogHeader(headers, "x-forwarded-proto", isTls(txn) and "https" or "http")
    addLogHeader(headers, "x-forwarded-host", txn.sf:req_fhdr("host"))
    -- The path without its query: queries carry tokens and personal data.
    addLogHeader(headers, "x-forwarded-uri", txn.sf:path())
    addLogHeader(headers, "x-forwarded-for", txn.sf:src())
    return headers
end

local function readRequestId(txn)
    local value = txn.sf:req_fhdr("x-request-id")
    return isRequestId(value) and value or nil
end

-- Outcomes --------------------------------------------------------------------------------------
-- A plain table: {ok = true, status = 200, names, values, user, …} or {ok = false, status, reason,
-- body, challenges, retryAfter}. Nothing touches the request before the outcome is complete.

local function challengeFor(failure)
    if failure.status ~= 401 and failure.error ~= "invalid_request" then
        return {}
    end
    return {
        ('Bearer realm="entra", error="%s", error_description="%s"'):format(
            failure.error,
            failure.text:gsub('"', "'")
        ),
    }
end

local function refuse(reason)
    local failure = FAILURES[reason]
    return {
        ok = false,
        status = failure.status,
        reason = reason,
        error = failure.error,
        text = failure.text,
        challenges = challengeFor(failure),
        retryAfter = failure.status == 503 and RETRY_AFTER_SECONDS or nil,
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
    elseif not isPrintable(lines[0]) then
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

-- The names that the verifier manages, and the values of those that have one.
local function readIdentity(headers)
    local list, problem = single(headers, "x-entra-auth-headers")
    if not list then
        return nil, nil, problem or "X-Entra-Auth-Headers is missing"
    end
    local names, values, seen = {}, {}, {}
    for item in list:gmatch("[^,]+") do
        local name = item:match("^%s*(.-)%s*$"):lower()
        if not name:find("^[%w][%w_-]*$") or NEVER_IDENTITY[name] or seen[name] then
            return nil, nil, "X-Entra-Auth-Headers has a name that is twice there or no identity's"
        end
        seen[name] = true
        local value, valueProblem = single(headers, name)
        if valueProblem then
            return nil, nil, valueProblem
        end
        names[#names + 1] = name
        values[name] = value ~= "" and value or nil
    end
    return names, values
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

local function judgeAllow(headers)
    local verdict, problem = single(headers, "x-entra-auth-verdict")
    if verdict ~= "allow" then
        return unavailable(problem or "status 200 without X-Entra-Auth-Verdict: allow")
    end
    local setup = contractProblem(single(headers, "x-entra-auth-contract"))
    if setup then
        return badSetup(setup)
    end
    local outcome = { ok = true, status = 200 }
    outcome.names, outcome.values, problem = readIdentity(headers)
    problem = problem or readAbout(headers, outcome)
    local report, reportProblem = single(headers, "x-entra-auth-report")
    problem = problem or reportProblem
    if problem or (report and not isReason(report)) then
        return unavailable(problem or "X-Entra-Auth-Report is not a reason code")
    end
    if report then
        -- A policy on probation: admitted, but as nobody.
        outcome.reason = report
        outcome.values = {}
    end
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
    if body and #body > 0 and #body <= BODY_LIMIT and kind:find("^application/json") then
        return body
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

-- What the verifier says to the client, word for word as far as it is safe to repeat.
local function judgeRefusal(status, reason, headers, body)
    local challenges = readChallenges(headers)
    if not challenges then
        return unavailable("a challenge that cannot be repeated")
    end
    return {
        ok = false,
        status = status,
        reason = reason,
        error = "access_denied",
        text = "The request was refused.",
        challenges = challenges,
        body = readBody(headers, body),
        retryAfter = status == 503 and readRetryAfter(headers) or nil,
    }
end

local REPEATED = { [400] = true, [401] = true, [403] = true, [503] = true }

-- The one place that decides whether an answer is one. Only status 200 with the verdict `allow`
-- passes; a refusal has a reason code, so an answer without one comes from some other program.
local function judge(response, policy)
    local status, headers = response.status, response.headers or {}
    if status == 200 then
        return judgeAllow(headers)
    end
    local reason = single(headers, "x-entra-auth-reason")
    if reason and not isReason(reason) then
        reason = nil
    end
    local contract = single(headers, "x-entra-auth-contract")
    if reason and contract and contract ~= CONTRACT then
        return badSetup(contractProblem(contract))
    elseif status == 404 and reason == "unknown_policy" then
        logOnceInAWhile("unknown_policy", "the verifier has no policy " .. policy)
        return refuse("unknown_policy")
    elseif status == 404 or status == 405 then
        return badSetup(("the verifier answers %d: another program at its address?"):format(status))
    elseif reason == "caller_not_allowed" then
        return badSetup("the verifier refuses the caller key: see ENTRA_AUTH_CALLER_KEY")
    elseif reason and REPEATED[status] then
        return judgeRefusal(status, reason, headers, response.body)
    end
    return unavailable(("status %s"):format(tostring(status)))
end

-- Decision --------------------------------------------------------------------------------------

local function millisecondsSince(start)
    local now = core.now()
    local passed = (now.sec - start.sec) * 1000 + (now.usec - start.usec) // 1000
    return math.max(0, passed)
end

-- A new client object for each call: one serves a single request. It keeps its connections alive.
local function ask(txn, policy, credentials, requestId)
    local response = core.httpclient():get({
        url = "http://" .. settings["verifier"] .. "/verify/" .. percentEncode(policy),
        headers = verifyHeaders(txn, credentials, requestId),
        timeout = settings["timeout-ms"],
    })
    return judge(response or {}, policy)
end

-- A cache of verdicts belongs here: between the credentials and the call, keyed by policy and
-- whole token, and used only while a background task has recent revocations.
local function decide(txn, policy, requestId)
    if policy == "" then
        return badSetup("the action was called without a policy")
    end
    if settings["cors-preflight"] == "pass" and isPreflight(txn) then
        return { ok = true, status = 200, reason = "cors_preflight", names = {}, values = {} }
    end
    local credentials, problem = readCredentials(txn)
    if problem then
        return refuse(problem)
    end
    local outcome = ask(txn, policy, credentials, requestId)
    outcome.cache = "miss"
    return outcome
end

-- Effects ---------------------------------------------------------------------------------------

local function setVariable(txn, name, value)
    if value ~= nil then
        txn:set_var(name, value, true)
    end
end

-- Nothing of an earlier action on this request may be read as this one's verdict.
local function clearVariables(txn)
    for _, name in ipairs(VARIABLES) do
        txn:unset_var("txn.entra." .. name)
    end
    txn:set_var("txn.auth_response_successful", false, true)
    txn:unset_var("txn.auth_response_code")
end

local function setVariables(txn, outcome)
    for _, name in ipairs(VARIABLES) do
        setVariable(txn, "txn.entra." .. name, outcome[name])
    end
    -- The names of haproxy-auth-request, for configurations that come from there.
    setVariable(txn, "txn.auth_response_successful", outcome.ok)
    setVariable(txn, "txn.auth_response_code", outcome.status)
end

-- Adding a header to a full buffer fails in silence. Space only shrinks while headers are added,
-- so when the largest, added last, is there, there was room for every other one: one look proves
-- all of them.
local function setIdentity(txn, outcome)
    local present = {}
    for _, name in ipairs(outcome.names) do
        txn.http:req_del_header(name)
        if outcome.values[name] then
            present[#present + 1] = name
        end
    end
    local function size(name)
        return #name + #outcome.values[name]
    end
    table.sort(present, function(a, b)
        return size(a) < size(b)
    end)
    for _, name in ipairs(present) do
        txn.http:req_add_header(name, outcome.values[name])
    end
    local largest = present[#present]
    return largest == nil or txn.sf:req_fhdr(largest) == outcome.values[largest]
end

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

local function refusalReply(txn, outcome, policy, requestId)
    local headers = {
        ["content-type"] = { "application/json; charset=utf-8" },
        ["cache-control"] = { "no-store" },
        ["x-entra-auth-reason"] = { outcome.reason },
    }
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

local function setIdentityOrRefuse(txn, outcome)
    if setIdentity(txn, outcome) then
        return outcome
    end
    logOnceInAWhile(
        "identity_incomplete",
        "identity headers did not fit into the buffer: raise tune.maxrewrite and tune.bufsize"
    )
    local refusal = refuse("identity_incomplete")
    refusal.policy, refusal.ms, refusal.cache = outcome.policy, outcome.ms, outcome.cache
    return refusal
end

-- Action ----------------------------------------------------------------------------------------

-- Returns the reply for the client, or nil where the request goes on.
local function verify(txn, given, enforce)
    clearVariables(txn)
    local policy = given or txn.sf:be_name()
    local start = core.now()
    local requestId = readRequestId(txn)
    local outcome = decide(txn, policy, requestId)
    outcome.policy = policy
    outcome.ms = millisecondsSince(start)
    if outcome.ok and enforce then
        outcome = setIdentityOrRefuse(txn, outcome)
    end
    setVariables(txn, outcome)
    if not outcome.ok then
        return enforce and refusalReply(txn, outcome, policy, requestId) or nil
    end
    -- The very last step: whatever fails before leaves the request refused.
    txn:set_var("txn.entra.ok", true)
    return nil
end

local function replyToError(txn, problem, policy, enforce)
    logOnceInAWhile("internal_error", "error in the action: " .. tostring(problem):sub(1, 200))
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

-- Registration ----------------------------------------------------------------------------------

core.register_action("entra-auth", { "http-req" }, function(txn, policy)
    run(txn, policy, true)
end, 1)

core.register_action("entra-auth-backend", { "http-req" }, function(txn)
    run(txn, nil, true)
end, 0)

core.register_action("entra-auth-observe", { "http-req" }, function(txn, policy)
    run(txn, policy, false)
end, 1)
