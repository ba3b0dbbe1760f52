import type { TracingConfig } from './config.ts'
import { type Environment, variableOf } from './environment.ts'
import { type Problem, quote } from './problems.ts'

/** Takes what is wrong with a variable. */
type ReportVariable = (variable: string, message: string, hint: string) => void

/**
 * Reads the standard variables of OpenTelemetry, as far as they mean something here. Undefined where
 * no endpoint is given, or tracing is switched off.
 */
export function readTracing(env: Environment, problems: Problem[]): TracingConfig | undefined {
  const report: ReportVariable = (path, message, hint) => problems.push({ path, message, hint })
  const value = (name: string) => variableOf(env, name)
  const isOff = value('OTEL_SDK_DISABLED')?.toLowerCase() === 'true'
  if (isOff || value('OTEL_TRACES_EXPORTER') === 'none') return undefined
  const endpoint = readEndpoint(value, report)
  if (endpoint === undefined) return undefined
  refuseUnsupported(value, report)
  const resource = readPairs('OTEL_RESOURCE_ATTRIBUTES', value, report)
  const name = value('OTEL_SERVICE_NAME') ?? resource['service.name'] ?? 'haproxy-entra-auth'
  return {
    endpoint,
    headers: {
      ...readHeaders('OTEL_EXPORTER_OTLP_HEADERS', value, report),
      ...readHeaders('OTEL_EXPORTER_OTLP_TRACES_HEADERS', value, report),
    },
    resource: { ...resource, 'service.name': name },
    delayMs: readDelay(value, report),
  }
}

type Value = (name: string) => string | undefined

function readEndpoint(value: Value, report: ReportVariable): string | undefined {
  const own = value('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
  const text = own ?? value('OTEL_EXPORTER_OTLP_ENDPOINT')
  if (text === undefined) return undefined
  const variable = own ? 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT' : 'OTEL_EXPORTER_OTLP_ENDPOINT'
  if (!/^https?:\/\/\S+$/i.test(text) || !URL.canParse(text)) {
    report(variable, 'is not an absolute http(s) URL', 'Write one such as http://127.0.0.1:4318.')
    return undefined
  }
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') {
    report(
      variable,
      'holds credentials',
      'Remove them, and set OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20… instead.',
    )
    return undefined
  }
  const protocol =
    value('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ?? value('OTEL_EXPORTER_OTLP_PROTOCOL')
  if (protocol === 'grpc') {
    report(
      value('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL')
        ? 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'
        : 'OTEL_EXPORTER_OTLP_PROTOCOL',
      'is grpc, which is not spoken here',
      'Unset it, and name the port for HTTP of the collector, usually 4318.',
    )
  }
  // The general one is a base; the one for traces is the whole address.
  return own ?? `${text.replace(/\/+$/, '')}/v1/traces`
}

/**
 * Reports the variables that change what a collector gets and that are not supported: ignoring them would
 * send more, or something else, than asked for.
 */
function refuseUnsupported(value: Value, report: ReportVariable): void {
  // No trace begins here, so all samplers that follow the parent do the same.
  if (!(value('OTEL_TRACES_SAMPLER') ?? 'parentbased_').startsWith('parentbased_')) {
    const hint = 'Unset it: the sampled flag of the caller decides. Or sample in the collector.'
    report('OTEL_TRACES_SAMPLER', 'is not supported, unless it starts with parentbased_', hint)
  }
  for (const end of ['CERTIFICATE', 'CLIENT_KEY', 'CLIENT_CERTIFICATE', 'COMPRESSION']) {
    for (const variable of [`OTEL_EXPORTER_OTLP_TRACES_${end}`, `OTEL_EXPORTER_OTLP_${end}`]) {
      if (['none', undefined].includes(value(variable))) continue
      const hint = 'Unset it, and send the spans to a collector on the same host.'
      report(variable, 'is not supported', hint)
    }
  }
}

/** Headers that belong to the connection; fetch refuses them. */
const reservedHeaders =
  /^(connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade)$/i

/** Headers for the collector. What HTTP cannot carry is refused here: later it would end up in an error. */
function readHeaders(
  variable: string,
  value: Value,
  report: ReportVariable,
): Readonly<Record<string, string>> {
  const headers = readPairs(variable, value, report)
  for (const [name, text] of Object.entries(headers)) {
    const isHeader = /^[!#$%&'*+.^_`|~0-9a-z-]+$/i.test(name) && !reservedHeaders.test(name)
    if (isHeader && /^[\t -~\u0080-\u00ff]*$/.test(text)) continue
    report(
      variable,
      'holds a header that cannot be sent',
      'Check its names, and its values for line breaks (%0A) and other control characters.',
    )
    return {}
  }
  return headers
}

/** `key=value` pairs with commas between them, values percent-encoded. */
function readPairs(
  variable: string,
  value: Value,
  report: ReportVariable,
): Readonly<Record<string, string>> {
  const pairs: Record<string, string> = {}
  for (const pair of (value(variable) ?? '').split(',').filter((text) => text.trim() !== '')) {
    const [, name = '', encoded = ''] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? []
    try {
      if (name === '') throw new URIError('no name')
      pairs[name] = decodeURIComponent(encoded)
    } catch {
      report(
        variable,
        'is not a list of key=value',
        'Write key=value,key2=value2, percent-encoded.',
      )
      return {}
    }
  }
  return pairs
}

function readDelay(value: Value, report: ReportVariable): number {
  const variable = 'OTEL_BSP_SCHEDULE_DELAY'
  const text = value(variable) ?? '5000'
  if (!/^\d{1,6}$/.test(text)) {
    report(variable, `is ${quote(text)}, no number of ms`, 'Write one such as 5000.')
  }
  return Number(text)
}
