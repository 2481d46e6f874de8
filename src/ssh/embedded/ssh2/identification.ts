/**
 * The server's identification, whole (RFC 4253 §4.2): other lines may come before it, and all of
 * them in pieces of any size. ssh2 loses the second piece of three: it keeps the first one, and
 * with it reads only the last. What it then takes for the identification goes into the exchange
 * hash, and the host key's signature is found to be wrong. So it is handed nothing before the
 * identification is complete, and none of the lines before it, of which nothing is made here.
 */
import type { SshProtocol } from './internals.ts';

/** Octets of one line, and lines before the identification; both as ssh2 has them. */
const MAX_LINE_LENGTH = 8192;
const MAX_LINES = 1024;

const CR = 13;
const LF = 10;
const BEGINNING = 'SSH-';

/**
 * Has `protocol.parse` wait for the identification. It throws as ssh2's own does: for a line that
 * is too long, for too many of them, and for a carriage return within one. To be called before
 * anything is read.
 */
export function awaitIdentification(protocol: Pick<SshProtocol, 'parse'>): void {
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
        // From here on ssh2 reads by itself.
        protocol.parse = parse;
        const whole = Buffer.concat([line.subarray(0, length), chunk.subarray(at + 1, end)]);
        protocol.parse(whole, 0, whole.length);
        return;
      }
      if (++lines > MAX_LINES) throw new Error('Max greeting lines exceeded');
      length = 0;
    }
  };
}

/** As ssh2 has it: something must follow the beginning. */
function isIdentification(line: Buffer, length: number): boolean {
  const text = line
    .subarray(0, length)
    .toString('latin1')
    .replace(/\r*\n$/, '');
  return text.length > BEGINNING.length && text.startsWith(BEGINNING);
}
