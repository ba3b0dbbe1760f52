import { Argument, type Command } from 'commander'
import type { CommandIo } from './io.ts'

const shells = ['bash', 'zsh', 'fish'] as const

/** A command with what may follow it. */
interface Node {
  /** The words before it, as `dev-entra token`; empty for the program. */
  readonly path: string
  readonly commands: readonly { readonly name: string; readonly about: string }[]
  readonly options: readonly Flag[]
  /** The values of each argument that has fixed ones; empty for any other. */
  readonly values: readonly (readonly string[])[]
}

interface Flag {
  readonly flag: string
  readonly about: string
  readonly takesValue: boolean
  /** The fixed values of an option; empty where any text may follow, such as a file name. */
  readonly values: readonly string[]
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
  // "help" is followed by the commands that it stands beside.
  const followers = command.name() === 'help' ? (command.parent?.commands ?? []) : command.commands
  const commands = followers
    .filter((one) => one !== command)
    .map((one) => ({ name: one.name(), about: one.description() }))
  const options = command.options
    .filter(({ hidden }) => !hidden)
    .flatMap(({ long, description, required, optional, argChoices = [] }): Flag[] =>
      long
        ? [
            {
              flag: long,
              about: description,
              takesValue: required || optional,
              values: argChoices,
            },
          ]
        : [],
    )
  const help = { flag: '--help', about: 'show the help', takesValue: false, values: [] }
  const values = command.registeredArguments.map(({ argChoices = [] }) => argChoices)
  return [
    { path, commands, options: [...options, help], values },
    ...command.commands.flatMap((one) => nodesOf(one, `${path} ${one.name()}`.trim())),
  ]
}

/**
 * A function for bash; zsh runs it as it is. Files are completed where no word fits. To zsh a letter
 * behind the colon of an expansion is a modifier, so numbers are written as `$((…))` there.
 */
function printBash(nodes: readonly Node[], isZsh: boolean): string {
  const words = nodes.map(({ path, commands, options }) => {
    const names = [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)]
    return `    '${path}') words='${names.join(' ')}' ;;`
  })
  const places = nodes.flatMap(({ path, values }) =>
    values.flatMap((some, index) =>
      some.length > 0 ? [`    '${path} ${index}') words="$words ${some.join(' ')}" ;;`] : [],
    ),
  )
  const flags = nodes.flatMap(({ path, options }) =>
    options.filter(({ takesValue }) => takesValue).map((one) => ({ path, ...one })),
  )
  const values = flags
    .filter((one) => one.values.length > 0)
    .map((one) => `      '${one.path} ${one.flag}') words='${one.values.join(' ')}' ;;`)
  const paths = nodes.flatMap(({ path }) => (path === '' ? [] : [`'${path}'`]))
  return `${isZsh ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}_haproxy_entra_auth() {
  local current="\${COMP_WORDS[COMP_CWORD]}" at='' flag='' next word words='' place=0
  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD - 1))}"; do
    if [ "$word" = '=' ]; then continue; fi
    if [ -n "$flag" ]; then flag=''; continue; fi
    next="\${at:+$at }$word"
    case "$next" in
      ${paths.join(' | ')}) at="$next"; place=0; continue ;;
    esac
    case "$at $word" in
      ${flags.map(({ path, flag }) => `'${path} ${flag}'`).join(' | ')}) flag="$word" ;;
      *' -'*) ;;
      *) place=$((place + 1)) ;;
    esac
  done
  if [ "$current" = '=' ]; then current=''; fi
  if [ -n "$flag" ]; then
    case "$at $flag" in
${values.join('\n')}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  case "$at" in
${words.join('\n')}
  esac
  case "$at $place" in
${places.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _haproxy_entra_auth haproxy-entra-auth
`
}

function printFish(nodes: readonly Node[]): string {
  const groups = nodes.filter(({ path }) => nodes.some((one) => one.path.startsWith(`${path} `)))
  const lines = nodes.flatMap(({ path, commands, options, values }) => {
    const seen = path.split(' ').filter(Boolean)
    // "serve" is a command of the program and of dev-entra.
    const others = [...commands.map(({ name }) => name), ...groups.map((group) => group.path)]
    const absent = others.filter((name) => !seen.includes(name))
    const isHere = [
      ...seen.map((word) => `__fish_seen_subcommand_from ${word}`),
      ...(absent.length > 0
        ? [`not __fish_seen_subcommand_from ${[...new Set(absent)].join(' ')}`]
        : []),
    ].join('; and ')
    const line = (rest: string, about: string) =>
      `complete -c haproxy-entra-auth -n '${isHere}' ${rest} -d '${about.replace(/['\\]/g, '\\$&')}'`
    const value = (one: Flag) => {
      if (!one.takesValue) return ''
      return one.values.length > 0 ? ` -x -a '${one.values.join(' ')}'` : ' -r'
    }
    return [
      ...commands.map(({ name, about }) => line(`-a ${name}`, about)),
      ...values.flatMap((some) => (some.length > 0 ? [line(`-a '${some.join(' ')}'`, '')] : [])),
      ...options.map((one) => line(`-l ${one.flag.slice(2)}${value(one)}`, one.about)),
    ]
  })
  return `${lines.join('\n')}\n`
}
