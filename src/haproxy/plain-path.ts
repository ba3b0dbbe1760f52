/**
 * A path that every program reads alike: segments of letters, digits and `_ , : @ = + -`, with single
 * dots between them or one at the start (`/.well-known`). Matches the path that HAProxy sees, without
 * its query. It lists what is allowed, because what programs change in a path has no end: `\` and
 * `%5c` are `/` to the WHATWG URL parser, to .NET and on Windows; Java cuts `;…` off a segment, also in
 * `/..;/`; `%2f`, `%2e`, `%252e` and the overlong `%c0%ae` are decoded by some; tabs and line feeds are
 * left out by WHATWG and by Python's urllib; `#` ends a path; Windows drops a dot or blank at the end
 * of a name and knows `ADMINI~1` and `$DATA`. Holds in PCRE, POSIX and JavaScript.
 */
export const plainPathPattern: string =
  '^(/|(/[.]?[A-Za-z0-9_,:@=+-]+([.][A-Za-z0-9_,:@=+-]+)*)+/?)$'

/**
 * The rule to put before every decision by path, in the section that decides: it refuses each path
 * that an application might read differently. The one form that the documentation and the printed
 * configuration show, and that `drift` compares with.
 */
export const refuseAmbiguousPaths: string = `http-request deny deny_status 400 unless { path -m reg '${plainPathPattern}' }`
