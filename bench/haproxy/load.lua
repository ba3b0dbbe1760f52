-- Load of wrk: requests with tokens from a file, as fast as they are answered or with pauses.
--
--     wrk … -s load.lua URL -- FILE ORDER PAUSE_MS SEED CONNECTIONS
--
-- ORDER: `one` sends the first token, `each` every token once, `zipf` draws them by popularity: the
-- token of rank r comes with a weight of 1/r. PAUSE_MS is the mean of a pause before each request
-- on a connection, 0 for none; spread, or the connections would go in step. SEED, another in each load:
-- one that draws what the load before drew would find all of it in the caches. CONNECTIONS: `kept`, or `new`
-- for each request.
local head = "GET /orders HTTP/1.1\r\nHost: bench.example\r\nAuthorization: Bearer "
local tail = "\r\n\r\n"

local tokens, weights, sum = {}, {}, 0
local order, pauseMs, position = "one", 0, 0

function init(args)
    order, pauseMs = args[2], tonumber(args[3])
    math.randomseed(tonumber(args[4]))
    if args[5] == "new" then
        tail = "\r\nConnection: close" .. tail
    end
    for line in io.lines(args[1]) do
        tokens[#tokens + 1] = line
        sum = sum + 1 / #tokens
        weights[#tokens] = sum
        if order == "one" then
            break
        end
    end
    if pauseMs > 0 then
        -- Only then: with this function wrk asks for a pause before each request.
        delay = function()
            return math.floor(2 * pauseMs * math.random() + 0.5)
        end
    end
end

local function drawRank()
    local drawn, low, high = math.random() * sum, 1, #tokens
    while low < high do
        local middle = math.floor((low + high) / 2)
        if weights[middle] < drawn then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end

-- A second round would find the tokens in the caches, so the load ends here; whoever started wrk
-- interrupts it at this line, for it would sleep until its time is over.
local function nextPosition()
    position = position + 1
    if position == #tokens + 1 then
        io.stderr:write("EXHAUSTED\n")
        wrk.thread:stop()
    end
    return math.min(position, #tokens)
end

function request()
    local index = 1
    if order == "zipf" then
        index = drawRank()
    elseif order == "each" then
        index = nextPosition()
    end
    return head .. tokens[index] .. tail
end

function done(summary, latency)
    local errors = summary.errors
    print(
        string.format(
            'RESULT {"requests":%d,"seconds":%.4f,"p50Us":%d,"p99Us":%d,"failed":%d}',
            summary.requests,
            summary.duration / 1e6,
            latency:percentile(50),
            latency:percentile(99),
            errors.status + errors.connect + errors.read + errors.timeout
        )
    )
end
