/** Users and passwords of the proxies, compared in constant time. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export interface Credential {
  readonly user: string;
  readonly password: string;
}

export class Credentials {
  /**
   * Digests of equal length, so that the time of a comparison reveals neither lengths nor contents.
   */
  readonly #digests: readonly Buffer[];
  readonly #key = randomBytes(32);

  constructor(credentials: readonly Credential[]) {
    this.#digests = credentials.map(({ user, password }) =>
      this.#digest(Buffer.from(user), Buffer.from(password)),
    );
  }

  accepts(user: Buffer, password: Buffer): boolean {
    const given = this.#digest(user, password);
    let accepted = false;
    for (const digest of this.#digests) accepted = timingSafeEqual(digest, given) || accepted;
    return accepted;
  }

  /** Takes the value of a Proxy-Authorization header (RFC 7617). */
  acceptsBasic(header: string | undefined): boolean {
    const [, encoded] = /^basic +([a-z0-9+/=_-]+) *$/i.exec(header ?? '') ?? [];
    if (encoded === undefined) return false;
    const decoded = Buffer.from(encoded, 'base64');
    const colon = decoded.indexOf(':');
    return colon !== -1 && this.accepts(decoded.subarray(0, colon), decoded.subarray(colon + 1));
  }

  /** The user's length distinguishes "a" with "bc" from "ab" with "c". */
  #digest(user: Buffer, password: Buffer): Buffer {
    return createHmac('sha256', this.#key)
      .update(`${user.length}:`)
      .update(user)
      .update(password)
      .digest();
  }
}
