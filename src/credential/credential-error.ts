/** A credential that cannot be used; the message says what to do and tells no secret. */
export class CredentialError extends Error {}
