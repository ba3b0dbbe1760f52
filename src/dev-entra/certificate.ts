import { type KeyObject, sign } from 'node:crypto'

/** What a self-signed certificate needs; times in ms since the epoch. */
export interface CertificateRequest {
  readonly commonName: string
  readonly serial: Buffer
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

// DER object identifiers: sha256WithRSAEncryption and commonName.
const sha256WithRsa = Buffer.from('06092a864886f70d01010b', 'hex')
const commonNameId = Buffer.from('0603550403', 'hex')
const derNull = Buffer.from('0500', 'hex')

const sequence = 0x30
const set = 0x31
const integer = 0x02
const bitString = 0x03
const utf8String = 0x0c
const utcTime = 0x17

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

/**
 * Makes a self-signed X.509 v1 certificate (RFC 5280) in DER, because Entra's keys carry `x5c` and
 * are named by the certificate's SHA-1; Node itself reads certificates but does not make them.
 */
export function createCertificate(request: CertificateRequest): Buffer {
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
    // A leading 1 keeps the number positive and of minimal length.
    encode(integer, Buffer.from([1]), request.serial),
    algorithm,
    name,
    encode(sequence, encodeTime(request.notBeforeMs), encodeTime(request.notAfterMs)),
    name,
    request.publicKey.export({ type: 'spki', format: 'der' }),
  )
  const signature = sign('sha256', body, request.privateKey)
  return encode(sequence, body, algorithm, encode(bitString, Buffer.from([0]), signature))
}
