/**
 * A client of ssh-agent (draft-ietf-sshm-ssh-agent): lists keys and requests signatures. We don't
 * use ssh2's client, because it silently skips keys that it can't parse, has no timeout, and
 * doesn't check which algorithm an RSA key used to sign. It opens one connection per request, as
 * ssh-add does, and keeps nothing open.
 */
import { createConnection } from 'node:net';
import { TunnelError } from '../../errors/errors.ts';
import { type PublicKey, publicKeyFromBlob } from '../keys/publickey.ts';
import { WireReader, wireString, wireUint32 } from '../keys/wire.ts';

const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
const RSA_SHA2_256 = 2;
const RSA_SHA2_512 = 4;

/** The largest answer that OpenSSH's agent sends. */
const MAX_ANSWER_BYTES = 256 * 1024;
const LIST_TIMEOUT_MS = 5_000;
/** Long, because the agent may ask the user to confirm, or to touch a token. */
const SIGN_TIMEOUT_MS = 120_000;

export type RsaHash = 'sha256' | 'sha512';

export interface AgentKey extends PublicKey {
  readonly comment: string;
}

export class SshAgent {
  readonly #path: string;

  /** `path`: the agent's Unix socket, from SSH_AUTH_SOCK. */
  constructor(path: string) {
    this.#path = path;
  }

  /** The keys in the agent's order. Throws TunnelError `agent-failed`. */
  async list(): Promise<AgentKey[]> {
    const answer = await this.#request(
      Buffer.of(REQUEST_IDENTITIES),
      IDENTITIES_ANSWER,
      LIST_TIMEOUT_MS,
    );
    return readIdentities(answer);
  }

  /**
   * The signature itself, without the algorithm's name. `hash` applies to RSA keys. Throws
   * TunnelError `agent-failed`.
   */
  async sign(key: PublicKey, data: Buffer, hash: RsaHash | undefined): Promise<Buffer> {
    const rsa = key.type === 'ssh-rsa';
    const flags = !rsa ? 0 : hash === 'sha512' ? RSA_SHA2_512 : RSA_SHA2_256;
    const request = Buffer.concat([
      Buffer.of(SIGN_REQUEST),
      wireString(key.blob),
      wireString(data),
      wireUint32(flags),
    ]);
    const answer = await this.#request(request, SIGN_RESPONSE, SIGN_TIMEOUT_MS);
    return readSignature(answer, wantedAlgorithm(key, hash));
  }

  #request(request: Buffer, expected: number, timeout: number): Promise<WireReader> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(this.#path);
      const chunks: Buffer[] = [];
      let size = 0;
      const finish = (result: WireReader | TunnelError): void => {
        socket.destroy();
        if (result instanceof TunnelError) reject(result);
        else resolve(result);
      };
      socket.setTimeout(timeout, () => finish(failed('it does not answer')));
      socket.on('error', (cause: NodeJS.ErrnoException) =>
        finish(failed(cause.code ?? 'unknown', cause)),
      );
      socket.on('close', () => finish(failed('it closed the connection')));
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size < 5) return;
        const data = Buffer.concat(chunks);
        const length = data.readUInt32BE(0);
        if (length < 1 || length > MAX_ANSWER_BYTES)
          return finish(failed('its answer is malformed'));
        if (size < 4 + length) return;
        const reader = new WireReader(data.subarray(4, 4 + length));
        finish(reader.byte() === expected ? reader : failed('it refused'));
      });
      socket.write(wireString(request));
    });
  }
}

/** The answer to a request for identities, after its type. Throws TunnelError `agent-failed`. */
export function readIdentities(answer: WireReader): AgentKey[] {
  const count = answer.uint32() ?? 0;
  const keys: AgentKey[] = [];
  for (let i = 0; i < count; i++) {
    const blob = answer.string();
    const comment = answer.text();
    if (blob === undefined || comment === undefined) throw failed('its list of keys is incomplete');
    const key = publicKeyFromBlob(blob);
    if (key !== undefined) keys.push({ ...key, comment });
  }
  return keys;
}

/**
 * The signature in the answer to a request for one, after its type; `wanted`: the algorithm that
 * was asked for. Throws TunnelError `agent-failed`.
 */
export function readSignature(answer: WireReader, wanted: string): Buffer {
  const blob = answer.string();
  const signature = blob === undefined ? undefined : new WireReader(blob);
  const algorithm = signature?.text();
  const octets = signature?.string();
  if (octets === undefined || algorithm !== wanted)
    throw failed(`it signed with ${algorithm ?? 'nothing'} instead of ${wanted}`);
  return octets;
}

function wantedAlgorithm({ type }: PublicKey, hash: RsaHash | undefined): string {
  if (type !== 'ssh-rsa') return type;
  return hash === 'sha512' ? 'rsa-sha2-512' : 'rsa-sha2-256';
}

function failed(why: string, cause?: unknown): TunnelError {
  return new TunnelError('agent-failed', `ssh-agent: ${why}`, { cause });
}
