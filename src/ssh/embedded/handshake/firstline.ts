/** What a port sends that doesn't speak SSH. */
import { TLS } from '../../dial/notssh.ts';
import { serverText } from '../../servertext.ts';

const MAX_BYTES = 1024;
const MAX_CHARACTERS = 120;
/** An alert record (RFC 8446 §5.1, §6), which TLS servers send when they don't get a handshake. */
const ALERT = /^\x15\x03[\x00-\x04]/;
const IDENTIFICATION = 'SSH-2.0-';

/**
 * The first line that a port sends, unless an SSH identification comes (RFC 4253 §4.2 allows other
 * lines before it).
 */
export class FirstLine {
  #data = '';
  #ssh = false;

  /** For 'data' events; others also listen to the stream. */
  readonly listener = (chunk: Buffer): void => {
    if (this.#ssh || this.#data.length >= MAX_BYTES) return;
    this.#data += chunk.toString('latin1', 0, MAX_BYTES);
    this.#ssh = /^SSH-(2\.0|1\.99)-/m.test(this.#data);
  };

  /** An identification has come, perhaps not the whole line. */
  get begun(): boolean {
    return this.#ssh;
  }

  /** undefined: nothing came, or the server speaks SSH, or it may be about to. */
  get text(): string | undefined {
    if (this.#ssh || IDENTIFICATION.startsWith(this.#data)) return undefined;
    if (ALERT.test(this.#data)) return TLS;
    return serverText(this.#data.split('\n', 1)[0] ?? '', MAX_CHARACTERS);
  }
}
