import { Argument, type Command } from 'commander'
import type { CommandIo } from './io.ts'

const shells = ['bash', 'zsh', 'fish'] as const

/** A command with what may follow it. */
interface Node {
  /** The words before it, as `dev-entra token`; empty for the program. */
  readonly path: string
  readonly commands: readonly { readonly name: string; readonly about: string }[]
  readonly options: readonly { readonly flag: string; readonly about: string }[]
}

/** Adds `completion`. */
export function addCompletionCommand(program: Command, io: CommandIo): void {
  program
    .command('completion')
    .description('print completion for a shell')
    .addArgument(new Argument('<shell>', 'shell').choices(shells))
    .addHelpText(
      'after',
      `
  bash:  source <(haproxy-entra-auth completion bash)
  zsh:   source <(haproxy-entra-auth completion zsh)
  fish:  haproxy-entra-auth completion fish | source`,
    )
    .action((shell: (typeof shells)[number]) => {
      const nodes = nodesOf(program)
      io.stdout.write(shell === 'fish' ? printFish(nodes) : printBash(nodes, shell === 'zsh'))
    })
}

function nodesOf(command: Command, path = ''): Node[] {
  const commands = command.commands.map((one) => ({
    name: one.name(),
    about: one.description(),
  }))
  const options = command.options
    .filter(({ hidden }) => !hidden)
    .flatMap(({ long, description }) => (long ? [{ flag: long, about: description }] : []))
  return [
    { path, commands, options: [...options, { flag: '--help', about: 'show the help' }] },
    ...command.commands.flatMap((one) => nodesOf(one, `${path} ${one.name()}`.trim())),
  ]
}

/**
 * A function for bash; zsh runs it as it is. Files are completed where no word fits. To zsh a letter
 * behind the colon of an expansion is a modifier, so numbers are written as `$((…))` there.
 */
function printBash(nodes: readonly Node[], isZsh: boolean): string {
  const cases = nodes.map(({ path, commands, options }) => {
    const words = [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)]
    return `    '${path}') words='${words.join(' ')}' ;;`
  })
  const paths = nodes.flatMap(({ path }) => (path === '' ? [] : [`'${path}'`]))
  return `${isZsh ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}_haproxy_entra_auth() {
  local current="\${COMP_WORDS[COMP_CWORD]}" at='' next word words=''
  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD - 1))}"; do
    next="\${at:+$at }$word"
    case "$next" in
      ${paths.join(' | ')}) at="$next" ;;
    esac
  done
  case "$at" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _haproxy_entra_auth haproxy-entra-auth
`
}

function printFish(nodes: readonly Node[]): string {
  const lines = nodes.flatMap(({ path, commands, options }) => {
    const seen = path.split(' ').filter(Boolean)
    const isHere = [
      ...seen.map((word) => `__fish_seen_subcommand_from ${word}`),
      ...(commands.length > 0
        ? [`not __fish_seen_subcommand_from ${commands.map(({ name }) => name).join(' ')}`]
        : []),
    ].join('; and ')
    const line = (rest: string, about: string) =>
      `complete -c haproxy-entra-auth -n '${isHere}' ${rest} -d '${about.replace(/['\\]/g, '\\$&')}'`
    return [
      ...commands.map(({ name, about }) => line(`-a ${name}`, about)),
      ...options.map(({ flag, about }) => line(`-l ${flag.slice(2)}`, about)),
    ]
  })
  return `${lines.join('\n')}\n`
}
