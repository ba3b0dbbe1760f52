import { constants, createHash, type KeyObject, privateEncrypt } from 'node:crypto'
import type { Random } from './keys.ts'

const hashBytes = 32

/**
 * Signs a SHA-256 digest by RSASSA-PSS (RFC 8017 section 9.1.1) with a salt of 32 bytes. Node signs
 * whole messages only, while a key vault gets nothing but the digest.
 */
export function signPssDigest(digest: Buffer, key: KeyObject, random: Random): Buffer {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 2048
  const length = Math.ceil((bits - 1) / 8)
  const salt = random(hashBytes)
  const hash = createHash('sha256').update(Buffer.alloc(8)).update(digest).update(salt).digest()
  const block = Buffer.concat([Buffer.alloc(length - 2 * hashBytes - 2), Buffer.from([1]), salt])
  const mask = deriveMask(hash, block.length)
  const masked = Buffer.from(block.map((byte, at) => byte ^ (mask[at] ?? 0)))
  // The highest bit must be zero, since the number has to be below the modulus.
  masked[0] = (masked[0] ?? 0) & (0xff >> (8 * length - (bits - 1)))
  const encoded = Buffer.concat([masked, hash, Buffer.from([0xbc])])
  return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, encoded)
}

/** MGF1 with SHA-256 (RFC 8017 appendix B.2.1). */
function deriveMask(seed: Buffer, length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / hashBytes) }, (_, at) => {
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(at)
    return createHash('sha256').update(seed).update(counter).digest()
  })
  return Buffer.concat(blocks).subarray(0, length)
}
