import { type KeyObject, sign } from 'node:crypto'
import { isIP } from 'node:net'

/** What a self-signed certificate needs; times in ms since the epoch. */
export interface CertificateRequest {
  readonly commonName: string
  readonly serial: Buffer
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
  /** Names and addresses that TLS clients look for; without any it is no certificate for a server. */
  readonly hosts?: readonly string[]
}

// DER object identifiers: sha256WithRSAEncryption, commonName and subjectAltName.
const sha256WithRsa = Buffer.from('06092a864886f70d01010b', 'hex')
const commonNameId = Buffer.from('0603550403', 'hex')
const subjectAltNameId = Buffer.from('0603551d11', 'hex')
const derNull = Buffer.from('0500', 'hex')

const sequence = 0x30
const set = 0x31
const integer = 0x02
const bitString = 0x03
const octetString = 0x04
const utf8String = 0x0c
const utcTime = 0x17
const version = 0xa0
const extensions = 0xa3
const dnsName = 0x82
const ipAddress = 0x87

function encode(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const length = content.length
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content])
  const bytes = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...bytes]), content])
}

function encodeTime(timeMs: number): Buffer {
  const digits = new Date(timeMs).toISOString().replace(/[-:T]/g, '').slice(2, 14)
  return encode(utcTime, Buffer.from(`${digits}Z`))
}

/** The extension subjectAltName (RFC 5280 section 4.2.1.6). */
function encodeAltNames(hosts: readonly string[]): Buffer {
  const names = hosts.map((host) =>
    isIP(host) === 0 ? encode(dnsName, Buffer.from(host)) : encode(ipAddress, encodeAddress(host)),
  )
  return encode(sequence, subjectAltNameId, encode(octetString, encode(sequence, ...names)))
}

function encodeAddress(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  // The URL parser writes the last groups in hexadecimal, too.
  const [head = '', tail = ''] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const groupsOf = (text: string) =>
    text.split(':').flatMap((group) => (group === '' ? [] : group.padStart(4, '0')))
  const [first, last] = [groupsOf(head), groupsOf(tail)]
  const gap = new Array<string>(8 - first.length - last.length).fill('0000')
  return Buffer.from([...first, ...gap, ...last].join(''), 'hex')
}

/**
 * Makes a self-signed X.509 certificate (RFC 5280) in DER, because Entra's keys carry `x5c` and are
 * named by the certificate's SHA-1, and because MSAL talks to `https` only; Node itself reads
 * certificates but does not make them. With `hosts` it is of version 3, otherwise of version 1.
 */
export function createCertificate(request: CertificateRequest): Buffer {
  const { hosts = [] } = request
  const algorithm = encode(sequence, sha256WithRsa, derNull)
  const name = encode(
    sequence,
    encode(
      set,
      encode(sequence, commonNameId, encode(utf8String, Buffer.from(request.commonName))),
    ),
  )
  const body = encode(
    sequence,
    ...(hosts.length === 0 ? [] : [encode(version, encode(integer, Buffer.from([2])))]),
    // A leading 1 keeps the number positive and of minimal length.
    encode(integer, Buffer.from([1]), request.serial),
    algorithm,
    name,
    encode(sequence, encodeTime(request.notBeforeMs), encodeTime(request.notAfterMs)),
    name,
    request.publicKey.export({ type: 'spki', format: 'der' }),
    ...(hosts.length === 0 ? [] : [encode(extensions, encode(sequence, encodeAltNames(hosts)))]),
  )
  const signature = sign('sha256', body, request.privateKey)
  return encode(sequence, body, algorithm, encode(bitString, Buffer.from([0]), signature))
}
