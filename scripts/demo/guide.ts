/** What the demo says after the tour: lines to paste into a shell. */
import { mainCommand } from './program.ts'
import type { Stack } from './stack.ts'

/** One word for a POSIX shell; quoted only where needed. */
export function quoteForShell(word: string): string {
  return /^[\w./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** Commands for another terminal, from any directory. */
export function writeGuide(stack: Pick<Stack, 'devEntraOrigin' | 'configFile'> & Origins): string {
  const main = mainCommand.map(quoteForShell).join(' ')
  const withToken = (persona: string) => `curl -i -H "Authorization: Bearer $(token ${persona})"`
  const verify = `${stack.verifier.origin}/verify/orders`
  return `Everything stays up. In another terminal, first a command for tokens:

  token() { ${main} dev-entra token "$@" --url ${stack.devEntraOrigin}; }

Through HAProxy (the application sends back what it sees):

  curl -i ${stack.haproxy.origin}/orders
  ${withToken('alice')} ${stack.haproxy.origin}/orders
  ${withToken('bob')} ${stack.haproxy.origin}/orders
  ${withToken('alice')} -H 'X_Auth_Request_User: carol' ${stack.haproxy.origin}/orders
  ${withToken('alice --expires-in -3600')} ${stack.haproxy.origin}/orders
  curl -i ${stack.haproxy.origin}/.well-known/oauth-protected-resource/orders

Straight at the verifier (what HAProxy asks):

  ${withToken('alice')} ${verify}
  ${withToken('robot')} ${verify}
  ${withToken('mallory')} ${verify}
  curl -i ${stack.verifier.origin}/readyz

Why was it refused, check by check; and what was revoked:

  token bob | ${main} explain --policy orders --config ${quoteForShell(stack.configFile)}
  ${main} revocations list --admin-url ${stack.verifier.adminOrigin}

More personas:  ${main} dev-entra personas
The policy:     ${quoteForShell(stack.configFile)} (change it, the verifier reads it again)

In a browser (click a person: Alice gets in, Gina is a guest, Dora is not assigned, Mona needs a second
factor; the button "Sign out" is at ${stack.portal.origin}/oauth2/sign_out):

  ${stack.portal.origin}/

Ctrl-C ends the demo.`
}

interface Origins {
  readonly haproxy: { readonly origin: string }
  readonly portal: { readonly origin: string }
  readonly verifier: { readonly origin: string; readonly adminOrigin: string }
}
