/**
 * Collects the server's identification (RFC 4253 §4.2) before ssh2 sees it. Other lines may come
 * before it, and all of this may come in pieces of any size. If it comes in three pieces, ssh2
 * loses the second: it keeps the first, and joins it with the last only. The wrong identification
 * goes into the exchange hash, and the host key's signature then fails. So ssh2 gets nothing until
 * the identification is complete, and never gets the lines before it, which are dropped here. It
 * also takes octets that are not ASCII for other ones than they are.
 */
import type { SshProtocol } from './internals.ts';

/** Octets of one line, and lines before the identification: the same limits as in ssh2. */
const MAX_LINE_LENGTH = 8192;
const MAX_LINES = 1024;

const CR = 13;
const LF = 10;
const BEGINNING = 'SSH-';

/**
 * Makes `protocol.parse` wait for the identification. It throws as ssh2's own does: for a line that
 * is too long, for too many lines, and for a carriage return within a line. Must be called before
 * anything is read.
 */
export function awaitIdentification(
  protocol: Pick<SshProtocol, 'parse' | '_remoteIdentRaw'>,
): void {
  const parse = protocol.parse;
  const line = Buffer.alloc(MAX_LINE_LENGTH);
  let length = 0;
  let lines = 0;
  protocol.parse = (chunk, start, end) => {
    for (let at = start; at < end; at++) {
      const octet = chunk[at] ?? 0;
      if (length === MAX_LINE_LENGTH) throw new Error('Header line too long');
      line[length++] = octet;
      if (octet !== LF) {
        if (octet !== CR && length > 1 && line[length - 2] === CR)
          throw new Error('Invalid header: expected newline');
        continue;
      }
      if (isIdentification(line, length)) {
        // From here on ssh2 reads directly.
        protocol.parse = parse;
        protocol.parse(Buffer.from(line.subarray(0, length)), 0, length);
        // ssh2 would hash octets above 127 as UTF-8, and the signature would fail.
        const octets = line
          .subarray(0, length)
          .toString('latin1')
          .replace(/\r*\n$/, '');
        protocol._remoteIdentRaw = Buffer.from(octets, 'latin1');
        const rest = Buffer.from(chunk.subarray(at + 1, end));
        if (rest.length > 0) protocol.parse(rest, 0, rest.length);
        return;
      }
      if (++lines > MAX_LINES) throw new Error('Max greeting lines exceeded');
      length = 0;
    }
  };
}

/** As ssh2 does, wants something after the beginning. */
function isIdentification(line: Buffer, length: number): boolean {
  const text = line
    .subarray(0, length)
    .toString('latin1')
    .replace(/\r*\n$/, '');
  return text.length > BEGINNING.length && text.startsWith(BEGINNING);
}
