/** Nobody is sent to a replica that is down, is stopping, or has no keys. */
export const healthCheck: readonly string[] = [
  '    option httpchk GET /readyz',
  '    http-check expect status 200',
]

/** A request that a replica did not take, because it has just died, goes to another one. */
export const secondTry: readonly string[] = [
  '    retries 1',
  '    option redispatch',
  '    retry-on conn-failure empty-response',
  '    timeout connect 200ms',
]

/** How often each server of the section is checked. */
export const checkTimes =
  '    default-server check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1'
