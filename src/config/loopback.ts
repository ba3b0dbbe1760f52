/** True for 127.0.0.0/8, `::1` (also in brackets, as URLs have it) and `localhost`. */
export function isLoopback(host: string): boolean {
  return (
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host) ||
    ['::1', '[::1]', 'localhost'].includes(host.toLowerCase())
  )
}
