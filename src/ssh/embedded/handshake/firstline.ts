/** What a port says that doesn't speak SSH. */
import { serverText } from '../../servertext.ts';

const ENOUGH = 1024;
const MAX_CHARACTERS = 120;
/** An alert record (RFC 8446 §5.1, §6), with which TLS servers answer what is no handshake. */
const TLS = /^\x15\x03[\x00-\x04]/;

/**
 * The first line that a port sends, unless it is SSH's identification (RFC 4253 §4.2 lets other
 * lines come before it).
 */
export class FirstLine {
  #data = '';
  #ssh = false;

  /** For 'data' events, beside whoever reads the stream. */
  readonly listener = (chunk: Buffer): void => {
    if (this.#ssh || this.#data.length >= ENOUGH) return;
    this.#data += chunk.toString('latin1', 0, ENOUGH);
    this.#ssh = /^SSH-(2\.0|1\.99)-/m.test(this.#data);
  };

  /** undefined: nothing came, or SSH. */
  get text(): string | undefined {
    if (this.#ssh || this.#data === '') return undefined;
    if (TLS.test(this.#data)) return 'a TLS alert';
    return serverText(this.#data.split('\n', 1)[0] ?? '', MAX_CHARACTERS);
  }
}
