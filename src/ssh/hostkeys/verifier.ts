/**
 * Decides whether the key that a jump host shows is the jump host's. There are two sources of truth
 * and never both: the pins of --host-key if any are given, else the known_hosts files; what these
 * revoke is refused in any case. Nothing turns the check off.
 *
 *   dial -> preferredTypes(host, port)   the key types to ask for first, so that a server with
 *                                        several keys shows one that we can compare (as ssh orders
 *                                        HostKeyAlgorithms)
 *        -> verify(host, port, blob)     during key exchange, before any authentication byte is
 *                                        sent; may ask
 *        -> proven()                     key exchange is done: the server holds the private half.
 *                                        Only now is a new key remembered, so that nobody can have
 *                                        keys written down that are not theirs
 *
 * | what is known about the name                  | answer                                        |
 * |-----------------------------------------------|-----------------------------------------------|
 * | a @revoked line has this key                  | host-key-revoked, whatever else is known,     |
 * |                                               | pins too                                      |
 * | another address of the same jump host has     | host-key-differs, with both fingerprints      |
 * | another key                                   |                                               |
 * | a line has this key                           | accepted                                      |
 * | this key stands under the plain name, the     | accepted, as ssh does                         |
 * | port isn't 22                                 |                                               |
 * | other keys of the same type                   | host-key-changed, with both fingerprints and  |
 * |                                               | the line                                      |
 * | only a certificate authority                  | host-key-unknown: certificates need the       |
 * |                                               | system's ssh                                  |
 * | only keys of other types                      | `ask` asks and says so; otherwise             |
 * |                                               | host-key-unknown                              |
 * | nothing                                       | `ask` asks, `accept-new` accepts, `yes`       |
 * |                                               | host-key-unknown                              |
 *
 * accept-new is stricter than ssh's with keys of other types: a host that has a key is not new, and
 * whoever sits between could choose the type. The files are read again for each connection, so that
 * a reconnect sees what has changed meanwhile. A key that was accepted holds for the life of the
 * verifier, also when it could not be written down. Names are matched as HostName has them, or
 * HostKeyAlias, which stands without a port; addresses aren't looked up (CheckHostIP is off by
 * default in ssh as well).
 */
import { timingSafeEqual } from 'node:crypto';
import { TunnelError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import { describeKey, fingerprint, type PublicKey, publicKeyFromBlob } from '../keys/publickey.ts';
import { DEFAULT_PORT } from '../options.ts';
import type { Prompter } from '../prompter.ts';
import type { HostKeySettings } from '../settings.ts';
import { appendKnownHost } from './append.ts';
import {
  changedKey,
  changedSinceAccepted,
  describeOthers,
  notPinned,
  revokedKey,
  unknownKey,
  unreadableKey,
} from './errors.ts';
import { type KnownKey, knownHostsName, loadKnownHosts } from './knownhosts.ts';
import type { ReplicaKeys } from './replicas.ts';

export interface HostKeyVerifier {
  /**
   * Types of the keys that would be accepted for this host, in no particular order; empty when any
   * may come.
   */
  preferredTypes(host: string, port: number): Promise<readonly string[]>;
  /**
   * Rejects with TunnelError host-key-unknown, -changed, -revoked or -differs, `auth-cancelled`
   * when the question was not answered, or with the reason of `signal`.
   */
  verify(
    host: string,
    port: number,
    blob: Buffer,
    context: HostKeyContext,
  ): Promise<AcceptedHostKey>;
}

export interface HostKeyContext {
  /** Aborted when the attempt is over, so that no question stays on the screen. */
  readonly signal: AbortSignal;
  /** Called around each question: the time a person takes doesn't count. */
  readonly onPrompt: (waiting: boolean) => void;
}

export interface AcceptedHostKey {
  /** To be called when key exchange is done. Doesn't reject: what can't be written is a warning. */
  proven(): Promise<void>;
}

export interface HostKeyOptions {
  /** undefined: nobody is to be asked (BatchMode). */
  readonly prompter: Prompter | undefined;
  readonly observer: Observer;
  /**
   * Shared by the verifiers of all addresses of one jump host (several -r): all must show the same
   * key.
   */
  readonly replicas?: ReplicaKeys;
}

export function createHostKeyVerifier(
  settings: HostKeySettings,
  options: HostKeyOptions,
): HostKeyVerifier {
  return new Verifier(settings, options);
}

/**
 * Whether no key is known for the host, but an authority that may certify one: then only the
 * system's ssh can tell whether the host is the right one.
 */
export async function isKnownByAuthorityOnly(
  settings: HostKeySettings,
  host: string,
  port: number,
): Promise<boolean> {
  const { pins, userFiles, globalFiles } = settings;
  if (pins.length > 0) return false;
  const { name } = namesOf(settings, host, port);
  const lines = (await loadKnownHosts([...userFiles, ...globalFiles], silentObserver)).lookup(name);
  return keysAmong(lines).length === 0 && lines.some(({ marker }) => marker === 'authority');
}

interface Names {
  /** What is looked up, shown and written. */
  readonly name: string;
  /** The name that stands for any port. */
  readonly plain: string | undefined;
}

/** What is known about a name at one moment. */
interface Knowledge {
  readonly lines: readonly KnownKey[];
  readonly plain: readonly KnownKey[];
}

class Verifier implements HostKeyVerifier {
  readonly #settings: HostKeySettings;
  readonly #options: HostKeyOptions;
  /** Accepted in this run, by name. */
  readonly #accepted = new Map<string, PublicKey[]>();

  constructor(settings: HostKeySettings, options: HostKeyOptions) {
    this.#settings = settings;
    this.#options = options;
  }

  async preferredTypes(host: string, port: number): Promise<readonly string[]> {
    const first = this.#options.replicas?.first;
    if (first !== undefined) return [first.type];
    const { pins } = this.#settings;
    if (pins.length > 0)
      return pins.flatMap((pin) => (pin.key === undefined ? [] : [pin.key.type]));
    const names = namesOf(this.#settings, host, port);
    // What is wrong with the files is said once, by `verify`.
    const { lines, plain } = await this.#look(names, silentObserver);
    const own: PublicKey[] = [...keysAmong(lines), ...(this.#accepted.get(names.name) ?? [])];
    return (own.length > 0 ? own : keysAmong(plain)).map((key) => key.type);
  }

  async verify(
    host: string,
    port: number,
    blob: Buffer,
    context: HostKeyContext,
  ): Promise<AcceptedHostKey> {
    const names = namesOf(this.#settings, host, port);
    const { name } = names;
    const offered = publicKeyFromBlob(blob);
    if (offered === undefined) throw unreadableKey(name);
    const known = await this.#look(names, this.#options.observer);

    const revoked = [...known.lines, ...known.plain].find(
      (line) => line.marker === 'revoked' && sameKey(line, blob),
    );
    if (revoked !== undefined) throw revokedKey(name, offered, revoked);
    const { replicas } = this.#options;
    const at = formatDestination({ host, port });
    const shown = { at, type: offered.type, fingerprint: fingerprint(blob) };
    replicas?.check(shown);

    const isNew =
      this.#settings.pins.length > 0
        ? this.#checkPins(name, offered)
        : this.#isNew(name, offered, known);
    if (isNew) await this.#accept(name, offered, known, context);
    return {
      proven: async () => {
        replicas?.prove(shown);
        if (isNew) await this.#remember(name, offered);
      },
    };
  }

  async #look({ name, plain }: Names, observer: Observer): Promise<Knowledge> {
    const { userFiles, globalFiles } = this.#settings;
    const known = await loadKnownHosts([...userFiles, ...globalFiles], observer);
    return { lines: known.lookup(name), plain: plain === undefined ? [] : known.lookup(plain) };
  }

  /** Always false: a pinned key is not new. */
  #checkPins(name: string, offered: PublicKey): boolean {
    const { pins } = this.#settings;
    const shown = fingerprint(offered.blob);
    if (
      pins.some((pin) =>
        pin.key === undefined ? pin.fingerprint === shown : sameKey(pin.key, offered.blob),
      )
    )
      return false;
    throw notPinned(name, offered, pins);
  }

  /** Throws when the host is known by another key. */
  #isNew(name: string, offered: PublicKey, { lines, plain }: Knowledge): boolean {
    const keys = keysAmong(lines);
    if (keys.some((key) => sameKey(key, offered.blob))) return false;
    const rival = keys.find((key) => key.type === offered.type);
    if (rival !== undefined) throw changedKey(name, offered, rival);
    const accepted = this.#accepted.get(name) ?? [];
    if (accepted.some((key) => sameKey(key, offered.blob))) return false;
    const former = accepted.find((key) => key.type === offered.type);
    if (former !== undefined) throw changedSinceAccepted(name, offered, former);
    // A different key under the plain name is no change: another server may listen at this port.
    return keys.length > 0 || !keysAmong(plain).some((key) => sameKey(key, offered.blob));
  }

  /** Returns when a key that is not known is to be trusted, and throws otherwise. */
  async #accept(
    name: string,
    offered: PublicKey,
    { lines }: Knowledge,
    { signal, onPrompt }: HostKeyContext,
  ): Promise<void> {
    const { strict, userFiles } = this.#settings;
    const refused = (why?: string): TunnelError => {
      const [file] = userFiles;
      return unknownKey({ name, offered, lines, file, ...(why === undefined ? {} : { why }) });
    };
    if (strict === 'yes' || lines.some((line) => line.marker === 'authority')) throw refused();
    if (strict === 'accept-new') {
      if (keysAmong(lines).length > 0) throw refused();
      return;
    }
    const { prompter } = this.#options;
    if (prompter === undefined) throw refused();
    let trusted: boolean;
    onPrompt(true);
    try {
      trusted = await prompter.confirm('Trust this key from now on?', {
        signal,
        preamble: [
          `The host key of ${name} is not known${describeOthers(lines)}:`,
          `  ${describeKey(offered)}`,
          'Compare it with what "ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub" prints on the jump host.',
        ],
        alternative: { text: fingerprint(offered.blob), name: 'the fingerprint' },
      });
    } catch (error) {
      if (error instanceof TunnelError && error.code === 'no-terminal')
        throw refused('there is nobody to ask whether to trust it');
      throw error;
    } finally {
      onPrompt(false);
    }
    if (!trusted) throw refused('it was not accepted');
  }

  async #remember(name: string, key: PublicKey): Promise<void> {
    this.#accepted.set(name, [...(this.#accepted.get(name) ?? []), key]);
    const { observer } = this.#options;
    const [file] = this.#settings.userFiles;
    const described = `the host key of ${name}, ${describeKey(key)},`;
    try {
      if (file === undefined)
        throw new TunnelError('known-hosts-unwritable', 'no file for host keys is set');
      await appendKnownHost(file, name, key, this.#settings.hashNames);
      observer.log('notice', `${described} is remembered in ${file}`);
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      observer.count('tunnel_known_hosts_unwritable_total');
      observer.log('warning', `${described} is trusted for this run only: ${error.message}`);
    }
  }
}

function namesOf({ alias }: HostKeySettings, host: string, port: number): Names {
  if (alias !== undefined) return { name: alias.toLowerCase(), plain: undefined };
  const plain = port === DEFAULT_PORT ? undefined : knownHostsName(host, DEFAULT_PORT);
  return { name: knownHostsName(host, port), plain };
}

function keysAmong(lines: readonly KnownKey[]): KnownKey[] {
  return lines.filter((line) => line.marker === 'key');
}

function sameKey(key: PublicKey, blob: Buffer): boolean {
  return key.blob.length === blob.length && timingSafeEqual(key.blob, blob);
}
