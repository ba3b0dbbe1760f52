-- Sends one token from a file again and again ("one"), or a new one with each request ("each").
local tokens = {}
local each = false
local position = 0

function init(args)
    each = args[2] == "each"
    for line in io.lines(args[1]) do
        tokens[#tokens + 1] = line
    end
end

function request()
    if each then
        position = position + 1
        if position > #tokens then
            -- A second round would find the tokens in the cache.
            wrk.thread:stop()
        end
    else
        position = 1
    end
    return wrk.format("GET", "/verify/orders", { Authorization = "Bearer " .. (tokens[position] or tokens[1]) })
end

function done(summary, latency)
    local seconds = summary.duration / 1e6
    local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
    print(string.format(
        'RESULT {"requests":%d,"seconds":%.4f,"p50Us":%d,"p99Us":%d,"errors":%d}',
        summary.requests, seconds, latency:percentile(50), latency:percentile(99), errors
    ))
end
