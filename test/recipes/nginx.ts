/** A real nginx with the recipe's configuration on free ports of 127.0.0.1. */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Life, makeFolder } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { recipeFile } from './recipe-files.ts'

export interface Nginx {
  readonly port: number
  /** Whether an access log line holds this text. */
  readonly version: string
}

export interface NginxOptions {
  /** `127.0.0.1:PORT` */
  readonly verifier: string
  readonly application: string
  /** Default: the one with tokens only. */
  readonly recipe?: 'entra-auth.conf' | 'entra-sign-in.conf'
  readonly edit?: (config: string) => string
}

/** The nginx on PATH, or where Debian keeps it. */
export function findNginx(): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin']
  const found = folders
    .map((folder) => join(folder, 'nginx'))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
  if (!found) throw new Error('nginx is missing: install it (Debian: apt-get install nginx-light)')
  return found
}

/** Starts it, and stops it with the test. */
export async function startNginx(t: Life, options: NginxOptions): Promise<Nginx> {
  const nginx = findNginx()
  const folder = makeFolder(t)
  const [port = 0] = await freePorts(1)
  const recipe = recipeFile(`nginx/${options.recipe ?? 'entra-auth.conf'}`)
    .replace(/127\.0\.0\.1:808[01]/, options.verifier)
    .replace('127.0.0.1:3000', options.application)
    .replace('127.0.0.1:8000', `127.0.0.1:${port}`)
  const config = join(folder, 'nginx.conf')
  mkdirSync(join(folder, 'temp'))
  writeFileSync(join(folder, 'entra-auth.conf'), options.edit?.(recipe) ?? recipe)
  writeFileSync(
    config,
    `worker_processes 1;
daemon off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 256; }
http {
    access_log off;
    ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/temp/${name};`).join('\n    ')}
    include ${folder}/entra-auth.conf;
}
`,
  )
  const child = spawn(nginx, ['-e', join(folder, 'error.log'), '-p', folder, '-c', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text
  })
  const ended = new Promise<void>((done) => void child.once('close', () => done()))
  t.after(() => {
    child.kill('SIGTERM')
    return ended
  })
  await eventually(
    () =>
      child.exitCode !== null ||
      fetch(`http://127.0.0.1:${port}/`).then(
        () => true,
        () => false,
      ),
    (up) => up,
  )
  if (child.exitCode !== null) throw new Error(`nginx ended: ${complaint}`)
  const { stderr } = spawnSync(nginx, ['-v'], { encoding: 'utf8' })
  return { port, version: /nginx\/(\S+)/.exec(stderr)?.[1] ?? '' }
}
