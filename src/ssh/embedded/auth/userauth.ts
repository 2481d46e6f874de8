/**
 * User authentication (RFC 4252, RFC 4256) as requests with answers, over ssh2's packets.
 *
 * ssh2's own authentication is not used: it ignores partial success after an agent's key, tries
 * only one signature algorithm for an RSA key, and reports a failure only as an event. It calls its
 * authHandler once, when the server has accepted the service. From then on the packet handlers are
 * ours, but success is also passed to ssh2, which then reports 'ready'.
 *
 * One request is under way at a time. If a request is given up in the middle because nobody could
 * answer its questions, the server need not be told: the next request takes its place (RFC 4252
 * §5.1).
 */
import type { Client } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import { reasonOf } from '../../../errors/reason.ts';
import { type PermittedKeys, signatureAlgorithms } from '../../identities/permitted.ts';
import type { PublicKey } from '../../keys/publickey.ts';
import { MAX_SERVER_TEXT, serverText } from '../../servertext.ts';
import type { AuthenticationSettings } from '../../settings.ts';
import {
  type InteractivePrompt,
  protocolOf,
  type SshProtocol,
  serverSoftwareOf,
} from '../ssh2/internals.ts';

export type MethodName = AuthenticationSettings['methods'][number];

export type UserauthAnswer =
  | { readonly kind: 'success' }
  /** `partial`: what was sent was accepted, and one of `methods` is wanted as well. */
  | { readonly kind: 'failure'; readonly methods: readonly string[]; readonly partial: boolean }
  /** The server would accept the offered key and wants a signature. */
  | { readonly kind: 'key-accepted' }
  /** SSH_MSG_USERAUTH_INFO_REQUEST, as the server wrote it. */
  | {
      readonly kind: 'questions';
      readonly name: string;
      readonly instruction: string;
      readonly prompts: readonly InteractivePrompt[];
    }
  | { readonly kind: 'password-expired'; readonly text: string };

interface Pending {
  readonly resolve: (answer: UserauthAnswer) => void;
  readonly reject: (reason: unknown) => void;
}

/** OpenSSH 7.4 signs with SHA-2 but leaves that out of its server-sig-algs. */
const SILENT_ABOUT_SHA2 = /^OpenSSH_7\.4/;

export class UserauthExchange {
  readonly #client: Client;
  readonly #protocol: SshProtocol;
  readonly #user: string;
  #pending: Pending | undefined;
  /** server-sig-algs (RFC 8308 §3.1); undefined: the server didn't say. */
  #signatureAlgorithms: readonly string[] | undefined;

  /**
   * Must be made as soon as `client.connect()` has returned. When `signal` is aborted, a request
   * that is under way rejects with its reason.
   */
  constructor(client: Client, user: string, signal: AbortSignal) {
    this.#client = client;
    this.#protocol = protocolOf(client);
    this.#user = user;
    signal.addEventListener('abort', () => this.#pending?.reject(signal.reason), { once: true });
    this.#takeOver();
  }

  /** Asks which methods the server permits. */
  none(): Promise<UserauthAnswer> {
    return this.#request(() => this.#protocol.authNone(this.#user));
  }

  /** Rejects with TunnelError `auth-skipped` for a key that can't be sent. */
  offerKey(key: PublicKey, algorithm: string): Promise<UserauthAnswer> {
    return this.#request(() => this.#protocol.authPK(this.#user, key.blob, algorithm));
  }

  /**
   * Rejects with the error of `signer`, or with `auth-skipped` for a malformed signature; nothing
   * has been sent then.
   */
  async sign(
    key: PublicKey,
    algorithm: string,
    signer: (data: Buffer) => Promise<Buffer>,
  ): Promise<UserauthAnswer> {
    const { data, send } = await new Promise<{ data: Buffer; send: (signature: Buffer) => void }>(
      (resolve) => {
        this.#protocol.authPK(this.#user, key.blob, algorithm, (data, send) =>
          resolve({ data, send }),
        );
      },
    );
    const signature = await signer(data);
    return this.#request(() => send(signature));
  }

  keyboardInteractive(): Promise<UserauthAnswer> {
    return this.#request(() => this.#protocol.authKeyboard(this.#user));
  }

  /** Answers 'questions', with as many answers as there were prompts. */
  respond(answers: readonly string[]): Promise<UserauthAnswer> {
    return this.#expect(() => this.#protocol.authInfoRes(answers));
  }

  password(password: string): Promise<UserauthAnswer> {
    return this.#request(() => this.#protocol.authPassword(this.#user, password));
  }

  /**
   * The signature algorithm for a key of this type; undefined: the server takes only SHA-1, which
   * we refuse, or nothing that is permitted.
   */
  signatureAlgorithm(type: string, permitted: PermittedKeys): string | undefined {
    const own = signatureAlgorithms(type, permitted);
    if (type !== 'ssh-rsa') return own[0];
    const known = this.#signatureAlgorithms;
    if (known === undefined || SILENT_ABOUT_SHA2.test(serverSoftwareOf(this.#client)))
      return own.includes('rsa-sha2-256') ? 'rsa-sha2-256' : own[0];
    return own.find((algorithm) => known.includes(algorithm));
  }

  #request(send: () => void): Promise<UserauthAnswer> {
    // A request that was given up before gets no answer any more.
    this.#protocol._authsQueue.length = 0;
    return this.#expect(send);
  }

  #expect(send: () => void): Promise<UserauthAnswer> {
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      try {
        send();
      } catch (cause) {
        // ssh2 can't read a key or a signature, perhaps one from an agent.
        const why = reasonOf(cause);
        reject(new TunnelError('auth-skipped', `it can't be sent (${why})`, { cause }));
      }
    });
  }

  #answer(answer: UserauthAnswer): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.resolve(answer);
  }

  #takeOver(): void {
    const handlers = this.#protocol._handlers;
    const { EXT_INFO: extensions, USERAUTH_SUCCESS: success } = handlers;
    handlers.EXT_INFO = (protocol, list) => {
      this.#signatureAlgorithms ??= list.find(({ name }) => name === 'server-sig-algs')?.algs;
      extensions(protocol, list);
    };
    handlers.USERAUTH_SUCCESS = (protocol) => {
      if (this.#pending === undefined) throw new Error('a login that nobody has asked for');
      this.#answer({ kind: 'success' });
      success(protocol);
    };
    handlers.USERAUTH_FAILURE = (_protocol, methods, partial) =>
      this.#answer({
        kind: 'failure',
        methods: methods.map((method) => serverText(method)),
        partial,
      });
    handlers.USERAUTH_PK_OK = () => this.#answer({ kind: 'key-accepted' });
    handlers.USERAUTH_PASSWD_CHANGEREQ = (_protocol, text) =>
      this.#answer({ kind: 'password-expired', text: serverText(text, MAX_SERVER_TEXT) });
    handlers.USERAUTH_INFO_REQUEST = (_protocol, name, instruction, prompts) =>
      this.#answer({ kind: 'questions', name, instruction, prompts });
  }
}
